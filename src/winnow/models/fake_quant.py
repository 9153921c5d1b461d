"""Modules with fake quantisation: they round to the integers of the deployed model, once it is enabled."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from winnow.functional.quantization_grid import INT32, asymmetric_grid, fake_quantize, grid_codes, symmetric_scale
from winnow.models.gradient_checkpointing import is_second_pass

ATTENTION = "winnow_fake_quant"  # the name of `fake_quant_attention` in transformers
_FLOAT_ATTENTION: Callable[..., tuple[Tensor, Tensor | None]] = AttentionInterface()["sdpa"]  # type: ignore[no-untyped-call]  # untyped there
_AVERAGED = 100  # observations over which the range of activations is averaged; later ones weigh a hundredth each


class FakeQuant(nn.Module):
    """Rounds a tensor to a grid of the integers from ``low`` to ``high``; does nothing until it is enabled.

    Args:
        low: smallest integer.
        high: largest integer.
        channels: number of rows (dim 0), each with its scale; 0 for a single scale.
        device: of its buffers.
    """

    scale: Tensor  # (channels,), or (1,); float32
    zero_point: Tensor  # int32; the integer that represents 0.0
    observations: Tensor  # int64, a scalar
    symmetric: bool  # the zero point is 0, and an observed range has all values of the tensor in it

    def __init__(self, low: int, high: int, channels: int = 0, device: Any = None) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.per_channel = channels > 0
        # Python flags, because a flag in a tensor would break a compiled graph
        self.observer_enabled = False
        self.fake_quant_enabled = False
        size = max(channels, 1)
        self.register_buffer("scale", torch.ones(size, device=device))
        self.register_buffer("zero_point", torch.zeros(size, dtype=torch.int32, device=device))
        self.register_buffer("observations", torch.zeros((), dtype=torch.int64, device=device))

    def observe(self, x: Tensor, ids: Tensor | None = None) -> None:
        """Update the grid to the range of the values; with ids, of a grid of rows, only that of the rows in ``x``."""
        raise NotImplementedError

    def forward(self, x: Tensor, observed: Tensor | None = None, ids: Tensor | None = None) -> Tensor:
        """``x``, rounded if fake quantisation is enabled.

        Args:
            observed: the tensor whose range the observer takes; None: ``x``.
            ids: of an embedding, the rows that ``x`` contains, ``x.shape[:-1]``; None: ``x`` has all rows in order.
        """
        if self.observer_enabled and not is_second_pass():
            with torch.no_grad():
                self.observations += 1
                self.observe(x, ids) if observed is None else self.observe(observed)
        if not self.fake_quant_enabled:
            return x
        return fake_quantize(x, *self._grid(x, ids), covered=self.symmetric and self.observer_enabled)

    def rounded(self, x: Tensor) -> Tensor:
        """``x`` rounded to the grid, whether fake quantisation is enabled or not."""
        return fake_quantize(x, *self._grid(x))

    def codes(self, x: Tensor) -> Tensor:
        """The integers to which ``x`` is rounded, int32."""
        return grid_codes(x, *self._grid(x)).to(torch.int32)

    def _grid(self, x: Tensor, ids: Tensor | None = None) -> tuple[Tensor, Tensor | None, int, int]:
        scale = self.scale
        if self.per_channel:
            scale = scale if ids is None else scale[ids]
            scale = scale.view(*scale.shape, *[1] * (x.dim() - scale.dim()))
        return scale, None if self.symmetric else self.zero_point, self.low, self.high


class ActivationFakeQuant(FakeQuant):
    """Asymmetric, 8 bits: the range is a moving average of the smallest and largest values.

    The first hundred batches weigh the same, so that the range of a short training is not that of its first batch.

    Args:
        reduce_range: the integers are 0 to 127, for CPUs that add products in 16 bits.
    """

    minimum: Tensor  # (1,)
    maximum: Tensor  # (1,)
    symmetric = False

    def __init__(self, reduce_range: bool = False, device: Any = None) -> None:
        super().__init__(0, 127 if reduce_range else 255, device=device)
        self.register_buffer("minimum", torch.zeros(1, device=device))
        self.register_buffer("maximum", torch.zeros(1, device=device))

    def observe(self, x: Tensor, ids: Tensor | None = None) -> None:
        weight = self.observations.clamp(max=_AVERAGED).reciprocal()
        smallest, largest = torch.aminmax(x)
        self.set_range(self.minimum.lerp(smallest.float(), weight), self.maximum.lerp(largest.float(), weight))

    def set_range(self, minimum: Tensor, maximum: Tensor) -> None:
        """Set the grid to a range, ``(1,)`` each."""
        self.minimum.copy_(minimum)
        self.maximum.copy_(maximum)
        scale, zero_point = asymmetric_grid(self.minimum, self.maximum, self.low, self.high)
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)


class WeightFakeQuant(FakeQuant):
    """Symmetric, so that zeros stay zeros; the range is that of the present weights.

    Args:
        bits: 8 or 4.
        channels: number of rows, each with its scale; 0 for one scale.
    """

    symmetric = True

    def __init__(self, bits: int = 8, channels: int = 0, device: Any = None) -> None:
        super().__init__(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, channels, device)
        self.bits = bits

    def observe(self, x: Tensor, ids: Tensor | None = None) -> None:
        if ids is not None:
            self.scale[ids] = symmetric_scale(x.abs().amax(dim=-1).float(), self.low, self.high)
            return
        over = tuple(range(1, x.dim())) if self.per_channel else tuple(range(x.dim()))
        largest = torch.maximum(x.amax(over), -x.amin(over))
        self.scale.copy_(symmetric_scale(largest.float(), self.low, self.high))


class QuantizedLinear(nn.Linear):
    """A linear layer whose input, weight and bias are rounded as in the deployed model.

    ``smoothing`` multiplies the channels of the input before it is rounded; the weight has its inverse.
    """

    weight_quantizer: WeightFakeQuant
    input_quantizer: ActivationFakeQuant
    smoothing: Tensor | None  # (in,)

    def smoothed(self, x: Tensor) -> Tensor:
        """The input as it is rounded."""
        return x if self.smoothing is None else x * self.smoothing

    def bias_scale(self) -> Tensor:
        """Scale of the bias, which is added to sums of products as int32: (out,), or (1,) with one weight scale."""
        return self.input_quantizer.scale * self.weight_quantizer.scale

    def bias_codes(self) -> Tensor:
        """The integers to which the bias is rounded, (out,), int32."""
        return grid_codes(self.bias, self.bias_scale(), None, *INT32).to(torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        x, weight = self.input_quantizer(self.smoothed(x)), self.weight_quantizer(self.weight)
        bias: Tensor | None = self.bias
        if bias is not None and self.weight_quantizer.fake_quant_enabled:
            bias = fake_quantize(bias, self.bias_scale(), None, *INT32, covered=True)
        return F.linear(x, weight, bias)


class QuantizedEmbedding(nn.Embedding):
    """An embedding that observes and rounds only the rows of the given ids, which costs less.

    `set_fake_quant` observes all of them when it switches the observer off.
    """

    weight_quantizer: WeightFakeQuant

    def forward(self, ids: Tensor) -> Tensor:
        observed = None if self.weight_quantizer.per_channel else self.weight
        rows: Tensor = self.weight_quantizer(super().forward(ids), observed=observed, ids=ids)
        return rows


class QuantizedMatmuls(nn.Module):
    """Fake quantisation of the inputs of attention's two matmuls: query with key, probabilities with value."""

    def __init__(self, reduce_range: bool = False, device: Any = None) -> None:
        super().__init__()
        self.query = ActivationFakeQuant(reduce_range, device)
        self.key = ActivationFakeQuant(reduce_range, device)
        self.probabilities = ActivationFakeQuant(reduce_range, device)
        self.value = ActivationFakeQuant(reduce_range, device)

    @property
    def is_enabled(self) -> bool:
        return self.query.observer_enabled or self.query.fake_quant_enabled


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
    """Attention as transformers calls it, with fake quantisation of its matmuls once it is enabled.

    Args:
        query, key, value: (batch, heads, seq, head size); key and value may have fewer heads, each for several of the
            query.
        attention_mask: added to the scores, (batch, 1, seq, seq).
    """
    matmuls = getattr(module, "products", None)
    if not isinstance(matmuls, QuantizedMatmuls) or not matmuls.is_enabled:
        return _FLOAT_ATTENTION(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs)
    # faster to observe, and matmul would copy what is rounded
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    key, value = (repeated(x, query.size(1)) for x in (matmuls.key(key), matmuls.value(value)))
    scores = torch.matmul(matmuls.query(query), key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    probabilities = matmuls.probabilities(torch.softmax(scores, dim=-1))  # before dropout, which stretches its range
    probabilities = F.dropout(probabilities, p=dropout, training=module.training)
    return torch.matmul(probabilities, value).transpose(1, 2).contiguous(), probabilities


def repeated(x: Tensor, heads: int) -> Tensor:
    """Keys or values, (batch, fewer heads, seq, head size), with each head as often as it takes to have all."""
    return x if x.size(1) == heads else x.repeat_interleave(heads // x.size(1), dim=1)


AttentionInterface.register(ATTENTION, fake_quant_attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)
