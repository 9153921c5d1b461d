"""What stands for quantised modules while a graph is traced: stored integers, and the nodes that ONNX has for them.

Every tensor of integers is followed by its DequantizeLinear, which an engine fuses with the product behind it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.models.fake_quant import FakeQuant, QuantizedEmbedding, QuantizedLinear, QuantizedMatmuls


class Grid(nn.Module):
    """The grid of an activation: uint8 with one scale."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, quantizer: FakeQuant) -> None:
        super().__init__()
        self.register_buffer("scale", quantizer.scale.detach().reshape(()).clone())
        self.register_buffer("zero_point", quantizer.zero_point.reshape(()).to(torch.uint8))
        self.bounds = None
        if quantizer.high < 255:  # uint8 has room for integers that the grid has not
            ends = torch.tensor([quantizer.low, quantizer.high]) - quantizer.zero_point
            self.bounds = (ends * quantizer.scale).tolist()

    def codes(self, x: Tensor) -> Tensor:
        x = x if self.bounds is None else x.clamp(*self.bounds)
        return _node("QuantizeLinear", x, self.scale, self.zero_point, dtype=torch.uint8)

    def values(self, codes: Tensor) -> Tensor:
        return _node("DequantizeLinear", codes, self.scale, self.zero_point)

    def forward(self, x: Tensor) -> Tensor:
        return self.values(self.codes(x))


class IntegerLinear(nn.Module):
    """A linear layer with an int8 weight ``(in, out)`` and an int32 bias.

    With a bias in floating point ONNX Runtime would compute the whole product in it wherever it makes one node of
    product and sum, as it does for inputs of fixed shape.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, linear: QuantizedLinear) -> None:
        super().__init__()
        quantizer = linear.weight_quantizer
        self.input = Grid(linear.input_quantizer)
        self.register_buffer("weight", quantizer.codes(linear.weight.detach()).to(torch.int8).t().contiguous())
        self.weight_scale = _Scale(quantizer.scale, torch.int8, axis=1)
        self.bias_scale = None
        if linear.bias is not None:
            self.register_buffer("bias", linear.bias_codes())
            self.bias_scale = _Scale(linear.bias_scale(), torch.int32, axis=0)

    def forward(self, x: Tensor) -> Tensor:
        product = torch.matmul(self.input(x), self.weight_scale(self.weight))
        return product if self.bias_scale is None else product + self.bias_scale(self.bias)


class IntegerEmbedding(nn.Module):
    """A table of int8, of which the rows that are looked up become numbers."""

    weight: Tensor

    def __init__(self, table: QuantizedEmbedding) -> None:
        super().__init__()
        self.register_buffer("weight", table.weight_quantizer.codes(table.weight.detach()).to(torch.int8))
        self.weight_scale = _Scale(table.weight_quantizer.scale, torch.int8, axis=0)

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight_scale(F.embedding(ids, self.weight))


class IntegerProducts(nn.Module):
    """The grids of what goes into the two products of attention."""

    def __init__(self, products: QuantizedMatmuls) -> None:
        super().__init__()
        self.query, self.key = Grid(products.query), Grid(products.key)
        self.probabilities, self.value = Grid(products.probabilities), Grid(products.value)

    def transposed_key(self, key: Tensor) -> Tensor:
        """Transposed as integers, so that nothing stands between a DequantizeLinear and its product."""
        return self.key.values(self.key.codes(key).transpose(2, 3))


class _Scale(nn.Module):
    """The scales of a stored tensor of integers whose zero point is 0: one, or one for each index of an axis."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scale: Tensor, dtype: torch.dtype, axis: int) -> None:
        super().__init__()
        single = scale.numel() == 1
        self.register_buffer("scale", scale.detach().reshape(()).clone() if single else scale.detach().clone())
        self.register_buffer("zero_point", torch.zeros_like(self.scale, dtype=dtype))
        self.attributes = {} if single else {"axis": axis}

    def forward(self, codes: Tensor) -> Tensor:
        return _node("DequantizeLinear", codes, self.scale, self.zero_point, **self.attributes)


def _node(kind: str, x: Tensor, *others: Tensor, dtype: torch.dtype = torch.float32, **attributes: int) -> Tensor:
    """A node of ONNX with a result of the shape of ``x``."""
    return torch.onnx.ops.symbolic(kind, (x, *others), attributes, dtype=dtype, shape=x.shape)
