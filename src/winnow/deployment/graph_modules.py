"""Replace modules of a model while its graph is traced: plain matmuls, a mask that broadcasts."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from winnow.deployment.integer_modules import (
    IntegerEmbedding,
    IntegerLinear,
    IntegerMatmuls,
    PackedEmbedding,
    block_size,
)
from winnow.models.fake_quant import QuantizedEmbedding, QuantizedLinear, QuantizedMatmuls

_ATTENTION = "winnow_graph"


class PlainLinear(nn.Module):
    """A linear layer with a weight of ``(in, out)``, whose graph is one MatMul and one Add."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().t().contiguous(), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        output = torch.matmul(x, self.weight)
        return output if self.bias is None else output + self.bias


def traceable_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model for tracing: on the CPU, in eval mode, with modules replaced."""
    copied = copy.deepcopy(model)
    copied.cpu().train(False)
    copied.set_attn_implementation(_ATTENTION)
    for name, module in list(copied.named_modules()):
        replacement = _replacement(module)
        if replacement is not None:
            copied.set_submodule(name, replacement)
    return copied


def _replacement(module: nn.Module) -> nn.Module | None:
    if isinstance(module, QuantizedLinear):
        return IntegerLinear(module)
    if isinstance(module, QuantizedEmbedding):
        return PackedEmbedding(module) if block_size(module) else IntegerEmbedding(module)
    if isinstance(module, QuantizedMatmuls):
        return IntegerMatmuls(module)
    return PlainLinear(module) if isinstance(module, nn.Linear) else None


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(d) + mask) v, with query, key and value of ``(batch, heads, tokens, width)``.

    Returns:
        ``(batch, tokens, heads, width)`` and the probabilities, as transformers expects.
    """
    grids: IntegerMatmuls | None = getattr(module, "products", None)
    if grids is not None:
        query, value, transposed = grids.query(query), grids.value(value), grids.transposed_key(key)
    else:
        transposed = key.transpose(2, 3)
    scores = torch.matmul(query, transposed) * (scaling or query.size(-1) ** -0.5)
    if attention_mask is not None:
        scores = scores + attention_mask
    probabilities = scores.softmax(dim=-1)
    if grids is not None:
        probabilities = grids.probabilities(probabilities)
    return torch.matmul(probabilities, value).transpose(1, 2).contiguous(), probabilities


def padding_mask(*, attention_mask: Tensor | None, dtype: torch.dtype = torch.float32, **_: Any) -> Tensor | None:
    """The mask to add to attention scores, ``(batch, 1, 1, tokens)``: 0 for a token, the lowest number for padding.

    The mask of transformers is ``(batch, 1, tokens, tokens)`` in an exported graph, and gathered token by token.
    """
    if attention_mask is None:
        return None
    return (~attention_mask.bool()).to(dtype)[:, None, None, :] * torch.finfo(dtype).min


AttentionInterface.register(_ATTENTION, attention)
AttentionMaskInterface.register(_ATTENTION, padding_mask)
