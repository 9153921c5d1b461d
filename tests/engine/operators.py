"""Graphs of one operator of the sparse engine, and the same computation in NumPy with 64 bits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from winnow.engine.graph_pass import DOMAIN
from winnow.engine.quantized_graph import BLOCK, Grid

ISA = "WINNOW_SPARSE_ISA"
LANES = 16
_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8}
_OUTPUTS = {
    "Pack": (np.float32, np.uint8),
    "Unpack": (np.float32,),
    "Linear": (np.float32,),
    "LinearActivation": (np.uint8,),
    "LinearNorm": (np.float32, np.uint8),
    "SelfAttention": (np.uint8,),
}


@dataclass(frozen=True)
class Weights:
    """A linear layer: weight (rows, columns) int8, scales (rows,) float32, bias (rows,) int32."""

    weight: np.ndarray
    scales: np.ndarray
    bias: np.ndarray

    @cached_property
    def attributes(self) -> dict[str, int]:
        return {"rows": self.weight.shape[0], "columns": self.weight.shape[1]}

    @cached_property
    def constants(self) -> list[np.ndarray]:
        """As the operators take them: blocks that are not zero, a bit for each block, scales, bias."""
        blocks = self.weight.reshape(-1, BLOCK)
        present = blocks.any(axis=1)
        return [blocks[present], np.packbits(present, bitorder="little"), self.scales, self.bias]

    def sums(self, codes: np.ndarray, grid: Grid) -> np.ndarray:
        """Exact integer sums for codes (..., columns)."""
        centred = codes.astype(np.float64) - grid.zero_point
        return centred @ self.weight.T.astype(np.float64) + self.bias  # all sums are integers far below 2^53

    def values(self, codes: np.ndarray, grid: Grid) -> np.ndarray:
        """The result of the layer for codes (..., columns), in float64."""
        return self.sums(codes, grid) * (np.float64(np.float32(grid.scale)) * self.scales)


def random_weights(
    rng: np.random.Generator,
    rows: int,
    columns: int,
    *,
    empty: float = 0.5,
    block: bool = True,
    scales: Sequence[float] = (2**-7, 2**-8),
) -> Weights:
    """Random weights; a part of the blocks, or of all numbers, is zero."""
    weight = rng.integers(-128, 128, (rows, columns))
    size = BLOCK if block else 1
    kept = np.repeat(rng.random((rows, columns // size)) >= empty, size, axis=1)
    bias = rng.integers(-(2**15), 2**15, rows)
    return Weights((weight * kept).astype(np.int8), rng.choice(scales, rows).astype(np.float32), bias.astype(np.int32))


def quantized(values: np.ndarray, grid: Grid) -> np.ndarray:
    """The codes of values."""
    return np.clip(np.rint(values.astype(np.float64) / np.float32(grid.scale)) + grid.zero_point, 0, grid.high)


def assert_codes(found: np.ndarray, values: np.ndarray, grid: Grid, error: float = 0.0) -> None:
    """Codes are those of values with an error, in units of the values; single precision may decide ties.

    Args:
        found: codes.
        values: in float64, of the same shape.
        grid: of the codes.
        error: of the values, at most.
    """
    exact = values / np.float64(np.float32(grid.scale)) + grid.zero_point
    slack = error / grid.scale + 2e-4
    low, high = (np.clip(np.rint(exact + by), 0, grid.high) for by in (-slack, slack))
    wrong = (found < low) | (found > high)
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size}: {found[wrong][:8]}, exactly {exact[wrong][:8]}"


def lengths_of(mask: np.ndarray) -> list[int]:
    """Tokens of each sequence up to the last unmasked one; all, if none is. ``mask`` is (batch, 1, 1, tokens)."""
    kept = mask[:, 0, 0] > -1e30
    return [int(np.flatnonzero(row)[-1]) + 1 if row.any() else len(row) for row in kept]


def to_lanes(x: np.ndarray, lengths: Sequence[int] | None = None) -> np.ndarray:
    """(batch, tokens, features) -> (groups, features, 16); lanes without a token are 0.

    Args:
        lengths: tokens of each sequence whose groups are kept; None: all.
    """
    parts = [np.zeros((0, x.shape[2], LANES), x.dtype)]
    for row, length in zip(x, lengths or [x.shape[1]] * len(x), strict=True):
        groups = -(-length // LANES)
        padded = np.zeros((groups * LANES, x.shape[2]), x.dtype)
        kept = row[: groups * LANES]
        padded[: len(kept)] = kept
        parts.append(padded.reshape(groups, LANES, x.shape[2]).transpose(0, 2, 1))
    return np.ascontiguousarray(np.concatenate(parts))


def from_lanes(x: np.ndarray, tokens: int, lengths: Sequence[int] | None = None) -> np.ndarray:
    """(groups, features, 16) -> (batch, tokens, features); 0 where there is no group."""
    lengths = lengths or [tokens] * (len(x) // -(-tokens // LANES))
    rows = np.zeros((len(lengths), tokens, x.shape[1]), x.dtype)
    begin = 0
    for row, length in zip(rows, lengths, strict=True):
        groups = -(-length // LANES)
        kept = x[begin : begin + groups].transpose(0, 2, 1).reshape(groups * LANES, -1)[:tokens]
        row[: len(kept)] = kept
        begin += groups
    return rows


def packed(codes: np.ndarray, instructions: str, lengths: Sequence[int] | None = None) -> np.ndarray:
    """Codes (batch, tokens, features) as operators pass them on: (groups, features / 4, 64)."""
    lanes = to_lanes(codes.astype(np.uint8), lengths)
    groups, features, _ = lanes.shape
    blocks = lanes.reshape(groups, features // BLOCK, BLOCK, LANES).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(blocks).reshape(groups, features // BLOCK, LANES * BLOCK) ^ _flip(instructions)


def unpacked(codes: np.ndarray, tokens: int, instructions: str, lengths: Sequence[int] | None = None) -> np.ndarray:
    """The inverse of `packed`."""
    groups, fours, _ = codes.shape
    blocks = (codes ^ _flip(instructions)).reshape(groups, fours, LANES, BLOCK).transpose(0, 1, 3, 2)
    return from_lanes(blocks.reshape(groups, fours * BLOCK, LANES), tokens, lengths)


def _flip(instructions: str) -> np.uint8:
    """The bit in which stored codes of activations differ from their codes: NEON multiplies signed bytes only."""
    return np.uint8(128 if instructions == "neon_dotprod" else 0)


def grids(**named: Grid) -> dict[str, Any]:
    """The attributes of grids."""
    attributes: dict[str, Any] = {}
    for name, grid in named.items():
        attributes |= {f"{name}_scale": grid.scale, f"{name}_zero_point": grid.zero_point, f"{name}_high": grid.high}
    return attributes


def model_of(
    kind: str, inputs: Sequence[np.ndarray | str], attributes: Mapping[str, Any], dims: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """A graph of one node.

    Args:
        kind: of the operator.
        inputs: of the node: a constant, or the name of an input of the graph.
        attributes: of the node.
        dims: an array for each input of the graph, of its type and rank.
    """
    constants = {f"constant{i}": value for i, value in enumerate(inputs) if not isinstance(value, str)}
    names = [value if isinstance(value, str) else f"constant{i}" for i, value in enumerate(inputs)]
    types = [np.dtype(each) for each in _OUTPUTS[kind]]
    results = [f"result{i}" for i in range(len(types))]
    node = helper.make_node(kind, names, results, domain=DOMAIN, **attributes)
    graph = helper.make_graph(
        [node],
        kind,
        [helper.make_tensor_value_info(name, _TYPES[x.dtype], [None] * x.ndim) for name, x in dims.items()],
        [helper.make_tensor_value_info(name, _TYPES[kind], None) for name, kind in zip(results, types, strict=True)],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def session(model: onnx.ModelProto, library: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised too
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(
    kind: str,
    library: Path,
    inputs: Sequence[np.ndarray | tuple[str, np.ndarray]],
    threads: int = 1,
    **attributes: Any,
) -> list[np.ndarray]:
    """The results of one operator.

    Args:
        kind: of the operator.
        library: that has it.
        inputs: of the node: a constant, or name and value of an input of the graph.
        threads: of the session.
        attributes: of the node.
    """
    named = dict(each for each in inputs if isinstance(each, tuple))
    model = model_of(kind, [each[0] if isinstance(each, tuple) else each for each in inputs], attributes, named)
    results: list[np.ndarray] = session(model, library, threads).run(None, named)
    return results
