"""Replace modules of a model while its graph is traced: plain matmuls, a mask that broadcasts."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, bidirectional_mask_function

from winnow.deployment.integer_modules import (
    IntegerEmbedding,
    IntegerLinear,
    IntegerMatmuls,
    PackedEmbedding,
    block_size,
)
from winnow.models.fake_quant import QuantizedEmbedding, QuantizedLinear, QuantizedMatmuls, repeated

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

    Key and value may have fewer heads, each for several of the query.

    Returns:
        ``(batch, tokens, heads, width)`` and the probabilities, as transformers expects.
    """
    grids: IntegerMatmuls | None = getattr(module, "products", None)
    key, value = repeated(key, query.size(1)), repeated(value, query.size(1))
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


def graph_mask(
    *,
    attention_mask: Tensor | None,
    q_length: int,
    mask_function: Callable[..., Any],
    dtype: torch.dtype = torch.float32,
    **_: Any,
) -> Tensor | None:
    """The mask to add to attention scores: 0 for a token that is read, the lowest number for padding.

    The mask of transformers is ``(batch, 1, tokens, tokens)`` in an exported graph, and gathered token by token. This
    one is ``(batch, 1, 1, tokens)``, unless a token reads only some of the others, as in local attention.
    """
    if attention_mask is None:
        return None
    read = attention_mask.bool()[:, None, None, :]
    if mask_function is not bidirectional_mask_function:
        place = torch.arange(q_length, device=read.device)
        read = read & mask_function(0, 0, place[:, None], place)
    return (~read).to(dtype) * torch.finfo(dtype).min


AttentionInterface.register(_ATTENTION, attention)
AttentionMaskInterface.register(_ATTENTION, graph_mask)
