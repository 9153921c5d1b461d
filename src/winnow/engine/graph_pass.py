"""Rewrite a quantised graph for the sparse engine: operators of the domain ``winnow`` in place of its linear layers."""

from collections.abc import Iterable, Sequence
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
        keep_values: the results of all layer normalisations stay in the graph, under their names.
    """
    graph = QuantizedGraph(model.graph)
    linears = list(graph.linears())
    return _Pass(graph, linears, keep_values).run(model) if linears else None


@dataclass
class _Pass:
    graph: QuantizedGraph
    linears: Sequence[Linear]
    keep_values: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)  # results that new nodes compute

    def run(self, model: onnx.ModelProto) -> Rewritten | None:
        finder = BlockFinder(self.graph, self.linears)
        attentions = {each.context: each for each in map(finder.attention, self.linears) if each}
        activated = {each.output: each for each in map(finder.activated, self.linears) if each}
        norms = [each for each in map(finder.normalized, self.linears) if each]
        # a linear layer with norm reads codes from attention or from a linear layer with activation
        self.norms = {each.output: each for each in norms if each.linear.x.source in {*attentions, *activated}}
        feeding = {norm.linear.x.source: norm.linear.x.grid for norm in self.norms.values()}
        self.attentions = [found for name, found in attentions.items() if self._only_feeds(name, feeding)]
        self.activated = [found for name, found in activated.items() if self._only_feeds(name, feeding)]
        fed = {each.context for each in self.attentions} | {each.output for each in self.activated}
        self.norms = {name: norm for name, norm in self.norms.items() if norm.linear.x.source in fed}

        for attention in self.attentions:
            self._add_attention(attention, feeding[attention.context])
        for each in self.activated:
            self._add_activated(each, feeding[each.output])
        for norm in self.norms.values():
            self._add_norm(norm)
        packed = [linear for each in self.attentions for linear in (each.query, each.key, each.value)]
        packed += [each.linear for each in self.activated]
        packed += [each.linear for each in self.norms.values()]
        names = {linear.name for linear in packed}
        alone = [each for each in self.linears if each.name not in names and each.empty_blocks >= _FEWEST_EMPTY]
        for linear in alone:
            self._add_linear(linear)
        if not packed and not alone:
            return None
        blocks = [linear.weight.size // BLOCK for linear in (*packed, *alone)]
        empty = [linear.empty_blocks for linear in (*packed, *alone)]
        return Rewritten(
            self._model(model),
            [each.name for each in packed],
            [each.name for each in alone],
            float(np.average(empty, weights=blocks)),
        )

    def _only_feeds(self, name: str, feeding: dict[str, Grid]) -> bool:
        """True if a tensor is read only by the linear layer that takes its codes."""
        readers = self.graph.consumers[name]
        return name in feeding and len(readers) == 1 and name not in self.graph.outputs

    def _add_attention(self, each: Attention, context: Grid) -> None:
        names = ("query", "key", "probabilities", "value")
        layers = (each.query, each.key, each.value)
        weights = [name for linear in layers for name in self._weights(linear)]
        self._add(
            "SelfAttention",
            each.query.name.rpartition(".")[0],
            [self._codes(each.query.x), each.mask, *weights],
            [_codes_name(each.context)],
            {"x": each.query.x.grid, **dict(zip(names, each.grids, strict=True)), "y": context},
            **_shape(each.query),
            scale=each.scale,
            head_size=each.head_size,
        )

    def _add_activated(self, each: Activated, grid: Grid) -> None:
        self._add(
            "LinearActivation",
            each.linear.name,
            [self._codes(each.linear.x), *self._weights(each.linear)],
            [_codes_name(each.output)],
            {"x": each.linear.x.grid, "y": grid},
            **_shape(each.linear),
            activation=_ACTIVATIONS[each.activation],
        )

    def _add_norm(self, each: Normalized) -> None:
        gamma, beta = (
            self._constant(f"{each.linear.name}.{name}", values.astype(np.float32))
            for name, values in (("norm.weight", each.gamma), ("norm.bias", each.beta))
        )
        self._add(
            "LinearNorm",
            each.linear.name,
            [_codes_name(each.linear.x.source), *self._weights(each.linear), self._values(each.residual), gamma, beta],
            [_values_name(each.output), _codes_name(each.output)],
            {"x": each.linear.x.grid, "y": self._grid_of(each.output) or Grid(1.0, 0)},
            **_shape(each.linear),
            epsilon=each.epsilon,
        )

    def _add_linear(self, linear: Linear) -> None:
        inputs = [linear.x.source, *self._weights(linear)]
        self._add("Linear", linear.name, inputs, [linear.output], {"x": linear.x.grid}, **_shape(linear))
        self.replaced.add(linear.output)

    def _grid_of(self, name: str) -> Grid | None:
        """The grid in which packed operators read a tensor; the first one, if there are several."""
        readers = [each.query.x for each in self.attentions] + [each.linear.x for each in self.activated]
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

    def _pack(self, name: str, grid: Grid) -> tuple[str, str]:
        suffix = f":{grid.scale!r}:{grid.zero_point}:{grid.high}"
        outputs = (_values_name(name) + suffix, _codes_name(name) + suffix)
        if not any(outputs[0] in node.output for node in self.nodes):
            self._add("Pack", name.split("/")[0], [name], outputs, {"x": grid})
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
        self,
        kind: str,
        module: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        grids: dict[str, Grid],
        **attributes: Any,
    ) -> None:
        for prefix, grid in grids.items():
            attributes |= {
                f"{prefix}_scale": grid.scale,
                f"{prefix}_zero_point": grid.zero_point,
                f"{prefix}_high": grid.high,
            }
        self.nodes.append(helper.make_node(kind, inputs, outputs, f"{module}/{kind}", domain=DOMAIN, **attributes))

    def _model(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of the graph with the new nodes, without what they replace."""
        self._add_unpacked()
        replaced = {*self.replaced, *self.norms}
        nodes = [node for node in self.graph.graph.node if not set(node.output) & replaced] + self.nodes
        wanted = _sorted(nodes, [*self.graph.outputs, *(self.norms if self.keep_values else ())])
        used = {name for node in wanted for name in node.input}
        constants = [value for value in self.graph.graph.initializer if value.name in used]
        constants += [value for name, value in self.constants.items() if name in used]
        made = helper.make_graph(
            wanted, self.graph.graph.name, self.graph.graph.input, self.graph.graph.output, constants
        )
        opsets = [*model.opset_import, helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(made, opset_imports=opsets, ir_version=model.ir_version, producer_name="winnow")

    def _add_unpacked(self) -> None:
        """Float tensors for the nodes of the runtime that read the result of a norm."""
        like = next((n.input[0] for n in self.nodes if n.op_type == "Pack" and n.input[0] not in self.norms), None)
        inner = {id(node) for node in self._replaced_nodes()}
        for name in self.norms:
            outside = any(id(node) not in inner for node in self.graph.consumers[name]) or name in self.graph.outputs
            packed_again = any(name in node.input for node in self.nodes if node.op_type in ("Pack", "Linear"))
            if like and (outside or packed_again or self.keep_values):
                self._add("Unpack", name.split("/")[0], [_values_name(name), like], [name], {})

    def _replaced_nodes(self) -> Iterable[onnx.NodeProto]:
        """Nodes of the old graph that nothing needs any more."""
        nodes = [node for node in self.graph.graph.node if not set(node.output) & {*self.replaced, *self.norms}]
        # the results of norms count as given, the inputs of new nodes as wanted
        wanted = {name for node in self.nodes for name in node.input} | self.graph.outputs
        needed = {id(node) for node in _sorted(nodes, wanted)}
        return [node for node in self.graph.graph.node if id(node) not in needed]


def _values_name(name: str) -> str:
    return f"{name}:values"


def _codes_name(name: str) -> str:
    return f"{name}:codes"


def _shape(linear: Linear) -> dict[str, int]:
    return {"rows": linear.weight.shape[0], "columns": linear.weight.shape[1]}


def _sorted(nodes: Sequence[onnx.NodeProto], wanted: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that wanted tensors need, each after those whose results it reads."""
    producers = {name: node for node in nodes for name in node.output}
    done: dict[int, onnx.NodeProto] = {}
    stack = [(producers[name], False) for name in wanted if name in producers]
    while stack:
        node, ready = stack.pop()
        if ready:
            done.setdefault(id(node), node)
        elif id(node) not in done:
            stack.append((node, True))
            stack += [(producers[name], False) for name in node.input if name in producers]
    return list(done.values())
