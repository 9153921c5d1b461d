"""Rewrite a quantised graph for the sparse engine: operators of the domain ``winnow`` in place of its linear layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from winnow.engine.encoder_blocks import Activated, Attention, BlockFinder, Normalized
from winnow.engine.quantized_graph import BLOCK, Grid, Linear, Quantized, QuantizedGraph

DOMAIN = "winnow"  # of the operators; native/operators.cpp implements version 1
_ACTIVATIONS = {"none": 0, "gelu": 1, "relu": 2}
_FEWEST_EMPTY = 0.3  # fraction of zero blocks from which a linear layer on its own is faster in this engine


@dataclass(frozen=True)
class Rewritten:
    """A graph for the sparse engine.

    Args:
        model: the graph.
        packed: names of the linear layers that run on codes from one to the next.
        alone: names of those that are operators on their own, between others of the runtime.
        empty_blocks: fraction of all their blocks of weights that are zero, and skipped.
    """

    model: onnx.ModelProto
    packed: list[str]
    alone: list[str]
    empty_blocks: float


def rewrite(model: onnx.ModelProto, keep_values: bool = False) -> Rewritten | None:
    """The graph with the operators of the sparse engine, or None if it has no linear layer that they can compute.

    Args:
        model: with QuantizeLinear and DequantizeLinear nodes, as `winnow.deployment.graph.write_graph` writes it; any
            other graph is searched for the same patterns.
        keep_values: the results of all layer normalisations stay in the graph, under their names, also where no node
            reads them.
    """
    graph = QuantizedGraph(model.graph)
    linears = list(graph.linears())
    return _Pass(graph, linears, keep_values).run(model) if linears else None


@dataclass(frozen=True)
class _Part:
    """What a block of the encoder gives an operator: names of its constants, and attributes."""

    constants: list[str]
    attributes: dict[str, Any]


@dataclass
class _Pass:
    graph: QuantizedGraph
    linears: Sequence[Linear]
    keep_values: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    # the blocks that become operators, by the name of what they compute
    attentions: dict[str, Attention] = field(default_factory=dict)
    activated: dict[str, Activated] = field(default_factory=dict)
    norms: dict[str, Normalized] = field(default_factory=dict)
    mask: str = ""  # of all attention; tells where the sequences of a batch end

    def run(self, model: onnx.ModelProto) -> Rewritten | None:
        self._find_blocks()
        packed = [linear for each in self.attentions.values() for linear in (each.query, each.key, each.value)]
        packed += [each.linear for each in self.activated.values()]
        packed += [each.linear for each in self.norms.values()]
        names = {linear.name for linear in packed}
        alone = [each for each in self.linears if each.name not in names and each.empty_blocks >= _FEWEST_EMPTY]
        if not packed and not alone:
            return None
        self._add_blocks()
        for linear in alone:
            part = self._part(linear, {})
            self._add("Linear", linear.name, [linear.x.source, *part.constants], [linear.output], part.attributes)
        blocks = [linear.weight.size // BLOCK for linear in (*packed, *alone)]
        empty = [linear.empty_blocks for linear in (*packed, *alone)]
        return Rewritten(
            self._model(model, {linear.output for linear in alone}),
            [each.name for each in packed],
            [each.name for each in alone],
            float(np.average(empty, weights=blocks)),
        )

    def _find_blocks(self) -> None:
        """Find attention and activations whose result only a linear layer with norm reads, and those layers."""
        finder = BlockFinder(self.graph, self.linears)
        attentions = {each.context: each for each in map(finder.attention, self.linears) if each}
        self.mask = next((each.mask for each in attentions.values()), "")
        attentions = {name: each for name, each in attentions.items() if each.mask == self.mask}
        activated = {each.output: each for each in map(finder.activated, self.linears) if each and self.mask}
        norms = {each.linear.x.source: each for each in map(finder.normalized, self.linears) if each}
        fed = {name for name in norms if len(self.graph.consumers[name]) == 1 and name not in self.graph.outputs}
        self.attentions = {name: each for name, each in attentions.items() if name in fed}
        self.activated = {name: each for name, each in activated.items() if name in fed}
        self.norms = {norms[name].output: norms[name] for name in (*self.attentions, *self.activated)}

    def _add_blocks(self) -> None:
        grids = {norm.linear.x.source: norm.linear.x.grid for norm in self.norms.values()}  # of what the norms read
        for each in self.attentions.values():
            part = self._attention_part(each, grids[each.context])
            inputs = [self._codes(each.query.x), self.mask, *part.constants]
            self._add("SelfAttention", _module(each), inputs, [_codes_name(each.context)], part.attributes)
        for block in self.activated.values():
            part = self._activated_part(block, grids[block.output])
            inputs = [self._codes(block.linear.x), *part.constants]
            self._add("LinearActivation", block.linear.name, inputs, [_codes_name(block.output)], part.attributes)
        for norm in self.norms.values():
            part = self._norm_part(norm)
            *weights, gamma, beta = part.constants
            inputs = [_codes_name(norm.linear.x.source), *weights, self._values(norm.residual), gamma, beta]
            self._add("LinearNorm", norm.linear.name, inputs, _packed_names(norm.output), part.attributes)

    def _attention_part(self, each: Attention, context: Grid) -> _Part:
        names = ("query", "key", "probabilities", "value")
        part = self._part(each.query, {**dict(zip(names, each.grids, strict=True)), "y": context})
        constants = [*part.constants, *self._weights(each.key), *self._weights(each.value)]
        return _Part(constants, {**part.attributes, "scale": each.scale, "head_size": each.head_size})

    def _activated_part(self, each: Activated, grid: Grid) -> _Part:
        part = self._part(each.linear, {"y": grid})
        return _Part(part.constants, {**part.attributes, "activation": _ACTIVATIONS[each.activation]})

    def _norm_part(self, each: Normalized) -> _Part:
        part = self._part(each.linear, {"y": self._grid_of(each.output) or Grid(1.0, 0)})
        vectors = {"norm.weight": each.gamma, "norm.bias": each.beta}
        names = [self._constant(f"{each.linear.name}.{n}", v.astype(np.float32)) for n, v in vectors.items()]
        return _Part([*part.constants, *names], {**part.attributes, "epsilon": each.epsilon})

    def _part(self, linear: Linear, grids: Mapping[str, Grid]) -> _Part:
        rows, columns = linear.weight.shape
        attributes: dict[str, Any] = {"rows": rows, "columns": columns}
        for prefix, grid in {"x": linear.x.grid, **grids}.items():
            attributes |= _grid_attributes(prefix, grid)
        return _Part(self._weights(linear), attributes)

    def _grid_of(self, name: str) -> Grid | None:
        """The grid in which packed operators read a tensor; the first one, if there are several."""
        readers = [each.query.x for each in self.attentions.values()]
        readers += [each.linear.x for each in self.activated.values()]
        return next((x.grid for x in readers if x.source == name), None)

    def _codes(self, x: Quantized) -> str:
        """The codes of a tensor: from the norm that computes it, else from a Pack node."""
        if x.source in self.norms and x.grid == self._grid_of(x.source):
            return _codes_name(x.source)
        return self._pack(x.source, x.grid)[1]

    def _values(self, name: str) -> str:
        """The values of a tensor in lanes: from the norm that computes it, else from a Pack node."""
        if name in self.norms:
            return _values_name(name)
        return self._pack(name, self._grid_of(name) or Grid(1.0, 0))[0]

    def _pack(self, name: str, grid: Grid) -> list[str]:
        suffix = f":{grid.scale!r}:{grid.zero_point}:{grid.high}"
        outputs = [each + suffix for each in _packed_names(name)]
        if not any(outputs[0] in node.output for node in self.nodes):
            self._add("Pack", name.split("/")[0], [name, self.mask], outputs, _grid_attributes("x", grid))
        return outputs

    def _weights(self, linear: Linear) -> list[str]:
        """The constants of a linear layer: blocks that are not zero, a bit for each block, scales, bias."""
        blocks = linear.weight.reshape(-1, BLOCK)
        present = blocks.any(axis=1)
        parts = {
            "weight.blocks": blocks[present],
            "weight.present": np.packbits(present, bitorder="little"),
            "weight.scales": np.ascontiguousarray(linear.scales),
            "bias": linear.bias,
        }
        return [self._constant(f"{linear.name}.{name}", values) for name, values in parts.items()]

    def _constant(self, name: str, values: np.ndarray) -> str:
        name = f"sparse.{name}"
        self.constants[name] = numpy_helper.from_array(values, name)
        return name

    def _add(
        self, kind: str, module: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, Any]
    ) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outputs, f"{module}/{kind}", domain=DOMAIN, **attributes))

    def _model(self, model: onnx.ModelProto, replaced: set[str]) -> onnx.ModelProto:
        """A copy of the graph with the new nodes, without the nodes that compute the replaced results."""
        old = [node for node in self.graph.graph.node if not set(node.output) & {*replaced, *self.norms}]
        outputs = [*(self.norms if self.keep_values else ()), *(value.name for value in self.graph.graph.output)]
        nodes = _sorted([*old, *self.nodes], outputs)
        # results of norms that are read as they are get unpacked, which may need further norms
        while names := self._unpacked_next(nodes, outputs):
            for name in names:
                self._add("Unpack", name.split("/")[0], [_values_name(name), self.mask], [name], {})
            nodes = _sorted([*old, *self.nodes], outputs)
        used = {name for node in nodes for name in node.input}
        constants = [value for value in self.graph.graph.initializer if value.name in used]
        constants += [value for name, value in self.constants.items() if name in used]
        source = self.graph.graph
        made = helper.make_graph(nodes, source.name, source.input, source.output, constants)
        opsets = [*model.opset_import, helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(made, opset_imports=opsets, ir_version=model.ir_version, producer_name="winnow")

    def _unpacked_next(self, nodes: Iterable[onnx.NodeProto], outputs: Iterable[str]) -> list[str]:
        """Results of norms that nodes or outputs read, and that no node computes yet."""
        read = {name for node in nodes for name in node.input} | {*outputs}
        computed = {name for node in nodes for name in node.output}
        return [name for name in self.norms if name in read and name not in computed]


def _module(attention: Attention) -> str:
    return attention.query.name.rpartition(".")[0]


def _values_name(name: str) -> str:
    return f"{name}:values"


def _codes_name(name: str) -> str:
    return f"{name}:codes"


def _packed_names(name: str) -> list[str]:
    return [_values_name(name), _codes_name(name)]


def _grid_attributes(prefix: str, grid: Grid) -> dict[str, Any]:
    values = {"scale": grid.scale, "zero_point": grid.zero_point, "high": grid.high}
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _sorted(nodes: Sequence[onnx.NodeProto], wanted: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that wanted tensors need, in the order of these, each after those whose results it reads."""
    producers = {name: node for node in nodes for name in node.output}
    done: dict[int, onnx.NodeProto] = {}
    stack = [(producers[name], False) for name in reversed([*wanted]) if name in producers]
    while stack:
        node, ready = stack.pop()
        if ready:
            done.setdefault(id(node), node)
        elif id(node) not in done:
            stack.append((node, True))
            stack += [(producers[name], False) for name in node.input if name in producers]
    return list(done.values())
