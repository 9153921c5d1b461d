"""Replacements of quantised modules while a graph is traced: stored integers, with the nodes that ONNX has for them.

Every integer tensor of a matmul is followed by DequantizeLinear, which an engine fuses with the matmul.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.functional.nibbles import pack
from winnow.models.fake_quant import FakeQuant, QuantizedEmbedding, QuantizedLinear, QuantizedMatmuls

_SMALLEST_BLOCK = 16  # of GatherBlockQuantized


class Grid(nn.Module):
    """The quantisation grid of an activation: uint8 with one scale."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, quantizer: FakeQuant) -> None:
        super().__init__()
        self.register_buffer("scale", quantizer.scale.detach().reshape(()).clone())
        self.register_buffer("zero_point", quantizer.zero_point.reshape(()).to(torch.uint8))
        self.bounds = None
        if quantizer.high < 255:  # a grid that does not use all of uint8
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

    With a bias in floating point, ONNX Runtime would compute the matmul in floating point wherever it fuses matmul and
    addition, as it does for inputs of fixed shape.
    """

    weight: Tensor
    bias: Tensor
    smoothing: Tensor | None

    def __init__(self, linear: QuantizedLinear) -> None:
        super().__init__()
        quantizer = linear.weight_quantizer
        self.register_buffer("smoothing", linear.smoothing)
        self.input = Grid(linear.input_quantizer)
        self.register_buffer("weight", quantizer.codes(linear.weight.detach()).to(torch.int8).t().contiguous())
        self.weight_scale = _Scale(quantizer.scale, torch.int8, axis=1)
        self.bias_scale = None
        if linear.bias is not None:
            self.register_buffer("bias", linear.bias_codes())
            self.bias_scale = _Scale(linear.bias_scale(), torch.int32, axis=0)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.smoothing is None else x * self.smoothing
        output = torch.matmul(self.input(x), self.weight_scale(self.weight))
        return output if self.bias_scale is None else output + self.bias_scale(self.bias)


class IntegerEmbedding(nn.Module):
    """An embedding whose integers are stored as int8; only the rows that are looked up are dequantised.

    With a scale for each row the rows are multiplied by their scales: DequantizeLinear takes scales by the index along
    an axis, which the rows no longer have once they are looked up.
    """

    weight: Tensor

    def __init__(self, embedding: QuantizedEmbedding) -> None:
        super().__init__()
        quantizer = embedding.weight_quantizer
        self.register_buffer("weight", quantizer.codes(embedding.weight.detach()).to(torch.int8))
        self.weight_scale = _Scale(quantizer.scale, torch.int8, axis=0)

    def forward(self, ids: Tensor) -> Tensor:
        codes = F.embedding(ids, self.weight)
        if self.weight_scale.axis is None:
            values: Tensor = self.weight_scale(codes)
            return values
        scale = torch.onnx.ops.symbolic("Gather", (self.weight_scale.scale, ids), dtype=torch.float32, shape=ids.shape)
        return codes.to(torch.float32) * scale.unsqueeze(-1)


class PackedEmbedding(nn.Module):
    """An embedding of 4 bits, two integers in a byte; one node looks rows up and dequantises them.

    GatherBlockQuantized is an operator of ONNX Runtime that OpenVINO reads too; the oldest versions are in
    `winnow.deployment.engines.FOUR_BITS`. It takes a scale for each block of a row, and OpenVINO requires whole blocks;
    here all blocks of a row have the same scale. With tensors of the type INT4, ONNX Runtime is nine times slower.
    """

    weight: Tensor  # (rows, width / 2)

    def __init__(self, embedding: QuantizedEmbedding) -> None:
        super().__init__()
        quantizer = embedding.weight_quantizer
        self.width, self.block_size = embedding.embedding_dim, block_size(embedding)
        self.register_buffer("weight", pack(quantizer.codes(embedding.weight.detach())))
        scales = quantizer.scale.detach().view(-1, 1).repeat(1, self.width // self.block_size)
        self.weight_scale = nn.ParameterDict({"scale": nn.Parameter(scales, requires_grad=False)})

    def forward(self, ids: Tensor) -> Tensor:
        return torch.onnx.ops.symbolic(
            "com.microsoft::GatherBlockQuantized",
            (self.weight, ids, self.weight_scale["scale"]),
            {"bits": 4, "block_size": self.block_size, "gather_axis": 0, "quantize_axis": 1},
            dtype=torch.float32,
            shape=(*ids.shape, self.width),
            version=1,
        )


def block_size(embedding: QuantizedEmbedding) -> int:
    """Weights of a block of a `PackedEmbedding`: the largest power of 2 that divides the width.

    Returns:
        0 for an embedding that is not packed: it has 8 bits, one scale, or a width that is no multiple of 16, the
        smallest block.
    """
    quantizer, width = embedding.weight_quantizer, embedding.embedding_dim
    packed = quantizer.bits == 4 and quantizer.per_channel and width % _SMALLEST_BLOCK == 0
    return width & -width if packed else 0


def packs_embeddings(model: nn.Module) -> bool:
    """True if the graph of a model has a `PackedEmbedding`."""
    return any(isinstance(module, QuantizedEmbedding) and block_size(module) > 0 for module in model.modules())


class IntegerMatmuls(nn.Module):
    """The grids of the inputs of the two matmuls of attention."""

    def __init__(self, quantized: QuantizedMatmuls) -> None:
        super().__init__()
        self.query, self.key = Grid(quantized.query), Grid(quantized.key)
        self.probabilities, self.value = Grid(quantized.probabilities), Grid(quantized.value)

    def transposed_key(self, key: Tensor) -> Tensor:
        """Transposes the integers, so that DequantizeLinear and its matmul stay adjacent."""
        return self.key.values(self.key.codes(key).transpose(2, 3))


class _Scale(nn.Module):
    """Dequantises a stored integer tensor with zero point 0 by one scale, or by one for each index of an axis."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scale: Tensor, dtype: torch.dtype, axis: int) -> None:
        super().__init__()
        single = scale.numel() == 1
        self.register_buffer("scale", scale.detach().reshape(()).clone() if single else scale.detach().clone())
        self.register_buffer("zero_point", torch.zeros_like(self.scale, dtype=dtype))
        self.axis = None if single else axis

    def forward(self, codes: Tensor) -> Tensor:
        return _node("DequantizeLinear", codes, self.scale, self.zero_point, axis=self.axis)


def _node(
    operator: str, x: Tensor, *others: Tensor, dtype: torch.dtype = torch.float32, axis: int | None = None
) -> Tensor:
    """A node of ONNX whose result has the shape of ``x``."""
    return torch.onnx.ops.symbolic(
        operator, (x, *others), {} if axis is None else {"axis": axis}, dtype=dtype, shape=x.shape
    )
