"""DeepSparse 1.8, which needs older packages than this project, in a process of an environment of its own.

The environment: ``python3.11 -m venv FOLDER; FOLDER/bin/pip install deepsparse==1.8.0 'numpy<2'``.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from winnow.engine.quantized_graph import QuantizedGraph, attribute
from winnow.errors import UserError

_OPSET, _IR = 14, 7  # newer ones are refused, or run partly in its reference implementation


class DeepSparse:
    """A model in DeepSparse. A run takes the seconds that it returns; sending requests is not included.

    Args:
        python: of the environment.
        model: an ONNX file.
        threads: of one run.
    """

    def __init__(self, python: Path, model: Path, threads: int) -> None:
        self.model, self.threads = onnx.load(model), threads
        self.inputs = [value.name for value in self.model.graph.input]
        self._shape: tuple[int, ...] = ()
        self._process = subprocess.Popen(
            # -I: without PYTHONPATH and the folder of the script
            [python, "-I", Path(__file__).with_name("deep_sparse_process.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NM_DISABLE_ANALYTICS": "1"},  # else each start is reported to its makers
        )

    def run(self, inputs: Mapping[str, np.ndarray]) -> float:
        """The seconds of one run; the first run of a shape comes after the graph has been compiled for it."""
        shape = inputs[self.inputs[0]].shape
        if shape == self._shape:
            return self._ask(None)
        self._shape = shape
        with tempfile.TemporaryDirectory() as folder:  # it may overwrite the graphs that it reads
            graph = Path(folder) / "model.onnx"
            onnx.save(deep_sparse_graph(self.model, *shape), graph)
            values = [inputs[name].tolist() for name in self.inputs]
            return self._ask({"graph": str(graph), "threads": self.threads, "inputs": values})

    def _ask(self, request: Any) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            return float(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            raise UserError("DeepSparse could not run a model; its messages are above.") from error


def deep_sparse_version(python: Path) -> str:
    """The version of DeepSparse in an environment.

    Raises:
        UserError: if it is not there.
    """
    command = [str(python), "-I", "-c", "from importlib.metadata import version; print(version('deepsparse'))"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"--deepsparse {python}: this Python has no package deepsparse.") from error


def deep_sparse_graph(model: onnx.ModelProto, batch_size: int, length: int) -> onnx.ModelProto:
    """The same computation in the form in which DeepSparse runs it in int8, and fastest.

    Shapes are fixed; matmuls of integers are MatMulInteger nodes, with DequantizeLinear nodes they would run in
    float32; layer normalisations and GELU are elementary nodes.
    """
    return _Conversion(model, (batch_size, length)).run()


class _Conversion:
    def __init__(self, model: onnx.ModelProto, shape: tuple[int, int]) -> None:
        self.graph, self.shape = QuantizedGraph(model.graph), shape
        self.inputs = list(model.graph.input)
        self.nodes: list[onnx.NodeProto] = []
        self.constants = dict(self.graph.constants)
        self.replaced: set[str] = set()

    def run(self) -> onnx.ModelProto:
        names = {value.name for value in self.inputs}
        for node in self.graph.graph.node:
            if node.output[0] in self.replaced:
                continue
            if node.op_type == "Shape" and node.input[0] in names:
                ends = slice(attribute(node, "start", 0), attribute(node, "end"))
                self._constant(node.output[0], np.array(self.shape[ends]))
            elif node.op_type == "LayerNormalization":
                self._normalize(node.input, attribute(node, "epsilon", 1e-5), node.output[0])
            elif node.op_type == "Gelu":
                self._gelu(node.input[0], node.output[0])
            elif node.op_type == "MatMul" and all(self.graph.producer(x, "DequantizeLinear") for x in node.input):
                self._multiply(node)
            else:
                self.nodes.append(node)
        inputs = [helper.make_tensor_value_info(each.name, onnx.TensorProto.INT64, self.shape) for each in self.inputs]
        graph = helper.make_graph(self._needed(), "model", inputs, self.graph.graph.output, [*self.constants.values()])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)

    def _needed(self) -> list[onnx.NodeProto]:
        """The nodes that the outputs need; constants that none of them reads are dropped."""
        wanted, kept = set(self.graph.outputs), list[onnx.NodeProto]()
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                kept.append(node)
                wanted |= set(node.input)
        self.constants = {name: value for name, value in self.constants.items() if name in wanted}
        return kept[::-1]

    def _multiply(self, matmul: onnx.NodeProto) -> None:
        """Integer sums, with the integer bias if there is one, times the product of the scales."""
        a, b = (self.graph.producers[name] for name in matmul.input)
        output = matmul.output[0]
        zero = self.graph.constant(b.input[2])
        assert zero is not None
        zero_point = b.input[2] if zero.size == 1 else self._constant(f"{output}:zero", np.zeros((), zero.dtype))
        sums = self._add("MatMulInteger", [a.input[0], b.input[0], a.input[2], zero_point], f"{output}:sums")
        added = self.graph.only_consumer(output, "Add")
        for name in added.input if added else ():
            bias = self.graph.producer(name, "DequantizeLinear")
            if added and bias and bias.input[0] in self.graph.constants:
                sums = self._add("Add", [sums, bias.input[0]], f"{output}:biased")
                output = added.output[0]
                self.replaced.add(output)
        values = self._add("Cast", [sums], f"{output}:values", to=onnx.TensorProto.FLOAT)
        scales = [numpy_helper.to_array(self.constants[each.input[1]]) for each in (a, b)]
        self._add("Mul", [values, self._constant(f"{output}:scale", scales[0] * scales[1])], output)

    def _normalize(self, inputs: Sequence[str], epsilon: float, output: str) -> None:
        x, gamma, beta = inputs
        small, two = (self._constant(f"{output}:{n}", np.float32(n)) for n in (epsilon, 2))
        mean = self._add("ReduceMean", [x], f"{output}:mean", axes=[-1])
        centred = self._add("Sub", [x, mean], f"{output}:centred")
        squares = self._add("Pow", [centred, two], f"{output}:squares")
        variance = self._add("ReduceMean", [squares], f"{output}:variance", axes=[-1])
        deviation = self._add("Sqrt", [self._add("Add", [variance, small], f"{output}:sum")], f"{output}:deviation")
        scaled = self._add("Mul", [self._add("Div", [centred, deviation], f"{output}:unit"), gamma], f"{output}:scaled")
        self._add("Add", [scaled, beta], output)

    def _gelu(self, x: str, output: str) -> None:
        root, one, half = (self._constant(f"{output}:{n}", np.float32(n)) for n in (2**0.5, 1, 0.5))
        erf = self._add("Erf", [self._add("Div", [x, root], f"{output}:divided")], f"{output}:erf")
        doubled = self._add("Mul", [x, self._add("Add", [erf, one], f"{output}:sum")], f"{output}:doubled")
        self._add("Mul", [doubled, half], output)

    def _constant(self, name: str, values: np.ndarray | np.generic) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def _add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output
