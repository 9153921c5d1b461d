"""What stands for the modules of a model while its graph is traced: plain products, a mask that broadcasts."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from winnow.deployment.integer_modules import IntegerEmbedding, IntegerLinear, IntegerProducts
from winnow.models.fake_quant import QuantizedEmbedding, QuantizedLinear, QuantizedMatmuls

_ATTENTION = "winnow_graph"


class PlainLinear(nn.Module):
    """A linear layer whose weight is ``(in, out)``, so that its graph is one MatMul and one Add."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().t().contiguous(), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        product = torch.matmul(x, self.weight)
        return product if self.bias is None else product + self.bias


def for_graph(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model on the CPU, in eval mode, whose modules are replaced by those that a graph is traced from."""
    replaced = copy.deepcopy(model).cpu().eval()
    replaced.set_attn_implementation(_ATTENTION)
    for name, module in list(replaced.named_modules()):
        stand_in = _stand_in(module)
        if stand_in is not None:
            replaced.set_submodule(name, stand_in)
    return replaced


def _stand_in(module: nn.Module) -> nn.Module | None:
    if isinstance(module, QuantizedLinear):
        return IntegerLinear(module)
    if isinstance(module, QuantizedEmbedding):
        return IntegerEmbedding(module)
    if isinstance(module, QuantizedMatmuls):
        return IntegerProducts(module)
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
        ``(batch, tokens, heads, width)`` and the probabilities, as transformers wants them.
    """
    products = getattr(module, "products", None)
    if products is not None:
        query, value, transposed = products.query(query), products.value(value), products.transposed_key(key)
    else:
        transposed = key.transpose(2, 3)
    scores = torch.matmul(query, transposed) * (scaling or query.size(-1) ** -0.5)
    if attention_mask is not None:
        scores = scores + attention_mask
    probabilities = scores.softmax(dim=-1)
    if products is not None:
        probabilities = products.probabilities(probabilities)
    return torch.matmul(probabilities, value).transpose(1, 2).contiguous(), probabilities


def padding_mask(*, attention_mask: Tensor | None, dtype: torch.dtype = torch.float32, **_: Any) -> Tensor | None:
    """What is added to the scores, ``(batch, 1, 1, tokens)``: 0 for a token, the smallest number for padding.

    The library's own mask of an exported model is ``(batch, 1, tokens, tokens)`` and is gathered token by token.
    """
    if attention_mask is None:
        return None
    return (~attention_mask.bool()).to(dtype)[:, None, None, :] * torch.finfo(dtype).min


AttentionInterface.register(_ATTENTION, attention)
AttentionMaskInterface.register(_ATTENTION, padding_mask)
