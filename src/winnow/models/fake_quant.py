"""Modules that compute on the grid of integers that the deployed model will have, once they are told to."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from winnow.functional.quantization_grid import INT32, asymmetric_grid, fake_quantize, grid_codes, symmetric_scale

ATTENTION = "winnow_fake_quant"  # the name of our attention in transformers
_FLOAT_ATTENTION = AttentionInterface()["sdpa"]
_AVERAGED = 100  # observations over which the range of activations is averaged; later ones weigh a hundredth each


class FakeQuant(nn.Module):
    """Rounds a tensor to the grid of integers from ``low`` to ``high``; does nothing until it is switched on.

    Args:
        low: smallest integer.
        high: largest integer.
        channels: rows (dim 0) with a scale each; 0 for a single scale.
        device: of its state.
    """

    scale: Tensor  # (channels,), or (1,); float32
    zero_point: Tensor  # int32; the integer that stands for 0.0

    def __init__(self, low: int, high: int, channels: int = 0, device: Any = None) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.per_channel = channels > 0
        # Python flags, because one in a tensor would break a compiled graph
        self.observes = False
        self.quantizes = False
        size = max(channels, 1)
        self.register_buffer("scale", torch.ones(size, device=device))
        self.register_buffer("zero_point", torch.zeros(size, dtype=torch.int32, device=device))
        self.register_buffer("observations", torch.zeros((), dtype=torch.int64, device=device))

    def observe(self, x: Tensor) -> None:
        """Fit the grid to the values."""
        raise NotImplementedError

    def forward(self, x: Tensor, fit_to: Tensor | None = None) -> Tensor:
        """``x`` on the grid.

        Args:
            fit_to: what the grid must hold, where ``x`` is a part of it.
        """
        if self.observes:
            with torch.no_grad():
                self.observe(x if fit_to is None else fit_to)
                self.observations += 1
        return self.rounded(x) if self.quantizes else x

    def rounded(self, x: Tensor) -> Tensor:
        """``x`` on the grid, whether it is in use or not."""
        return fake_quantize(x, *self._grid(x))

    def codes(self, x: Tensor) -> Tensor:
        """The integers that ``x`` is rounded to, int32."""
        return grid_codes(x, *self._grid(x)).to(torch.int32)

    def _grid(self, x: Tensor) -> tuple[Tensor, Tensor, int, int]:
        shape = (-1, *[1] * (x.dim() - 1)) if self.per_channel else (-1,)
        return self.scale.view(shape), self.zero_point.view(shape), self.low, self.high


class ActivationFakeQuant(FakeQuant):
    """Asymmetric, 8 bits: the range is a moving average of smallest and largest values.

    The first hundred batches weigh the same, so that a short training has a range too.

    Args:
        reduce_range: the integers are 0 to 127, for CPUs that add products in 16 bits.
    """

    def __init__(self, reduce_range: bool = False, device: Any = None) -> None:
        super().__init__(0, 127 if reduce_range else 255, device=device)
        self.register_buffer("minimum", torch.zeros(1, device=device))
        self.register_buffer("maximum", torch.zeros(1, device=device))

    def observe(self, x: Tensor) -> None:
        weight = (1.0 / (self.observations + 1)).clamp(min=1.0 / _AVERAGED)
        smallest, largest = torch.aminmax(x)
        self.minimum.lerp_(smallest.float(), weight)
        self.maximum.lerp_(largest.float(), weight)
        scale, zero_point = asymmetric_grid(self.minimum, self.maximum, self.low, self.high)
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)


class WeightFakeQuant(FakeQuant):
    """Symmetric: the range is that of the weights as they are now, so zeros stay zeros.

    Args:
        bits: 8 or 4.
        channels: rows with a scale each; 0 for one scale.
    """

    def __init__(self, bits: int = 8, channels: int = 0, device: Any = None) -> None:
        super().__init__(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, channels, device)

    def observe(self, x: Tensor) -> None:
        over = tuple(range(1, x.dim())) if self.per_channel else tuple(range(x.dim()))
        largest = torch.maximum(x.amax(over), -x.amin(over))
        self.scale.copy_(symmetric_scale(largest.float(), self.low, self.high))


class QuantizedLinear(nn.Linear):
    """A linear layer whose input, weight and bias are rounded as in the deployed graph."""

    weight_quantizer: WeightFakeQuant
    input_quantizer: ActivationFakeQuant

    def bias_scale(self) -> Tensor:
        """Scale of the bias, an int32 that is added to sums of products: (out,), or (1,) with one scale a weight."""
        return self.input_quantizer.scale * self.weight_quantizer.scale

    def bias_codes(self) -> Tensor:
        """The integers that the bias is rounded to, (out,), int32."""
        scale = self.bias_scale()
        return grid_codes(self.bias, scale, torch.zeros_like(scale), *INT32).to(torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        x, weight, bias = self.input_quantizer(x), self.weight_quantizer(self.weight), self.bias
        if bias is not None and self.weight_quantizer.quantizes:
            scale = self.bias_scale()
            bias = fake_quantize(bias, scale, torch.zeros_like(scale), *INT32)
        return F.linear(x, weight, bias)


class QuantizedEmbedding(nn.Embedding):
    """A table of which only the rows that are looked up are rounded, which gives the same and costs less."""

    weight_quantizer: WeightFakeQuant

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight_quantizer(super().forward(ids), fit_to=self.weight)


class QuantizedProducts(nn.Module):
    """What goes into the two matrix products of attention."""

    def __init__(self, reduce_range: bool = False, device: Any = None) -> None:
        super().__init__()
        self.query = ActivationFakeQuant(reduce_range, device)
        self.key = ActivationFakeQuant(reduce_range, device)
        self.probabilities = ActivationFakeQuant(reduce_range, device)
        self.value = ActivationFakeQuant(reduce_range, device)

    @property
    def acts(self) -> bool:
        return self.query.observes or self.query.quantizes


def fake_quant_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention as transformers calls it, with its products on their grids once those are in use.

    Args:
        query, key, value: (batch, heads, seq, head size).
        attention_mask: added to the scores, (batch, 1, seq, seq).
    """
    products = getattr(module, "products", None)
    if products is None or not products.acts:
        return _FLOAT_ATTENTION(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs)
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    scores = torch.matmul(products.query(query), products.key(key).transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    probabilities = products.probabilities(torch.softmax(scores, dim=-1))  # before dropout, which stretches its range
    probabilities = F.dropout(probabilities, p=dropout, training=module.training)
    return torch.matmul(probabilities, products.value(value)).transpose(1, 2).contiguous(), probabilities


AttentionInterface.register(ATTENTION, fake_quant_attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)
