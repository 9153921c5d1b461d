"""Heads and neurons of an encoder: find them, remove them, and put zeros in their places again.

Without some of its heads and neurons a model is smaller and faster, but no stock class opens it. With zeros in their
places any class opens it, and it computes the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from winnow.errors import UserError
from winnow.models.encoder_layers import layer_list

STRUCTURE = "structure.json"  # in a model's folder, beside its weights


@dataclass(frozen=True)
class Block:
    """The attention of a layer, a block of heads, or its feed-forward network, a block of neurons.

    Args:
        layer: its number, from 0.
        kind: ``heads`` or ``neurons``.
        module: full name of the module that an empty block does without.
        inputs: full names of the linear layers whose rows belong to the structures.
        output: full name of the linear layer whose columns belong to them.
        count: number of structures in a stock model.
        width: rows of a structure: the size of a head, or 1.
    """

    layer: int
    kind: str
    module: str
    inputs: tuple[str, ...]
    output: str
    count: int
    width: int

    def __str__(self) -> str:
        return f"{self.kind} of layer {self.layer}"


Kept = Mapping[Block, Sequence[int]]  # ascending numbers of the structures of each block, counted in a stock model


def structure_blocks(model: nn.Module) -> list[Block]:
    """The blocks of a stock model in order of use: heads and neurons of each layer.

    Raises:
        UserError: for a model whose layers have other parts than those of BERT or DistilBERT.
    """
    list_name, layers = layer_list(model)
    names = next((names for names in _NAMES if all(_has(layer, names) for layer in layers)), None)
    if names is None:
        raise UserError(
            f"the heads and neurons of {type(model).__name__} cannot be removed: its layers have other parts than "
            "those of BERT; use a BERT, RoBERTa, DistilBERT, ELECTRA or MiniLM."
        )
    config: Any = model.config
    neurons = config.hidden_dim if names is _DISTILBERT else config.intermediate_size
    counts = {"heads": config.num_attention_heads, "neurons": neurons}
    widths = {"heads": config.hidden_size // config.num_attention_heads, "neurons": 1}
    return [
        Block(
            i,
            kind,
            f"{list_name}.{i}.{module}",
            tuple(f"{list_name}.{i}.{name}" for name in inputs),
            f"{list_name}.{i}.{output}",
            counts[kind],
            widths[kind],
        )
        for i in range(len(layers))
        for kind, (module, inputs, output) in names.items()
    ]


# Parts of a layer: the module that an empty block does without, its inputs, its output.
_BERT = {
    "heads": (
        "attention.self",
        ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attention.output.dense",
    ),
    "neurons": ("intermediate", ("intermediate.dense",), "output.dense"),
}
_DISTILBERT = {
    "heads": ("attention", ("attention.q_lin", "attention.k_lin", "attention.v_lin"), "attention.out_lin"),
    "neurons": ("ffn", ("ffn.lin1",), "ffn.lin2"),
}
_NAMES = (_BERT, _DISTILBERT)


def _has(layer: nn.Module, names: Mapping[str, tuple[str, tuple[str, ...], str]]) -> bool:
    linears = {name for name, module in layer.named_modules() if isinstance(module, nn.Linear)}
    return all({*inputs, output} <= linears for _, inputs, output in names.values())


def kept_structures(model: nn.Module) -> dict[Block, list[int]]:
    """What a model still has of the structures of each block."""
    kept: dict[Block, list[int]] | None = getattr(model, "kept_structures", None)
    return dict(kept) if kept is not None else {block: list(range(block.count)) for block in structure_blocks(model)}


@torch.no_grad()
def remove_structures(model: nn.Module, kept: Kept) -> None:
    """Remove all other structures from a model, in place; its parameters stay the same objects.

    An empty block adds the bias of its output and nothing else; its other parameters are gone.

    Args:
        model: `kept_structures` then returns ``kept``.
        kept: of every block; a part of what the model has.
    """
    before = kept_structures(model)
    for block, numbers in kept.items():
        place = {number: i for i, number in enumerate(before[block])}
        _keep(model, block, [place[number] for number in numbers], len(before[block]))
    changed: Any = model
    changed.kept_structures = {block: list(numbers) for block, numbers in kept.items()}


def _keep(model: nn.Module, block: Block, places: Sequence[int], count: int) -> None:
    if len(places) == count:
        return
    if not places:
        _empty(model, block)
        return
    for name in block.inputs:
        linear: Any = model.get_submodule(name)
        rows = rows_of(block, places).to(linear.weight.device)
        for parameter in (linear.weight, linear.bias):
            parameter.data, parameter.grad = parameter.data[rows].clone(), None
        linear.out_features = len(rows)
    output: Any = model.get_submodule(block.output)
    columns = rows_of(block, places).to(output.weight.device)
    output.weight.data, output.weight.grad = output.weight.data[:, columns].contiguous(), None
    output.in_features = len(columns)


def rows_of(block: Block, numbers: Sequence[int]) -> Tensor:
    """The rows of some structures in the weights of the inputs of a block, int64."""
    first = torch.tensor(numbers, dtype=torch.long)[:, None] * block.width
    return (first + torch.arange(block.width)).flatten()


class BiasOnly(nn.Module):
    """The output of an empty block: a bias of (features,), which is added to the residual."""

    def __init__(self, bias: nn.Parameter) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        # not expanded where no dropout follows, so that an exported graph has a single addition
        return self.bias.expand(*x.shape[:-1], -1) if self.training else self.bias


class Skipped(nn.Module):
    """Stands for the module between the residual and the output of an empty block.

    Args:
        attention: return a pair, as attention does.
        output: the name of the output, if it belongs to the module, and the output.
    """

    def __init__(self, attention: bool, output: tuple[str, BiasOnly] | None = None) -> None:
        super().__init__()
        self.attention = attention
        self.output_name = output[0] if output else None
        if output:
            self.add_module(*output)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = x if self.output_name is None else self.get_submodule(self.output_name)(x)
        return (result, None) if self.attention else result


def _empty(model: nn.Module, block: Block) -> None:
    bias = BiasOnly(model.get_submodule(block.output).get_parameter("bias"))
    inside = block.output.startswith(f"{block.module}.")
    output = (block.output.removeprefix(f"{block.module}."), bias) if inside else None
    skipped = Skipped(block.kind == "heads", output)
    skipped.train(model.training), bias.train(model.training)
    model.set_submodule(block.module, skipped)
    if not inside:
        model.set_submodule(block.output, bias)


def padded_state(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in the shapes of the stock model, with zeros in the places of removed structures.

    Args:
        model: from which structures may have been removed.
        state: its state dict, or one of the same shapes.
    """
    padded = dict(state)
    if not hasattr(model, "kept_structures"):
        return padded
    for block, numbers in kept_structures(model).items():
        rows, size = rows_of(block, numbers), block.count * block.width
        bias = state[f"{block.output}.bias"]
        for name in block.inputs:
            for part, shape in (("weight", (size, len(bias))), ("bias", (size,))):
                whole = bias.new_zeros(shape)
                if numbers:
                    whole[rows] = state[f"{name}.{part}"]
                padded[f"{name}.{part}"] = whole
        whole = bias.new_zeros(len(bias), size)
        if numbers:
            whole[:, rows] = state[f"{block.output}.weight"]
        padded[f"{block.output}.weight"] = whole
    return padded


def save_structure(model: PreTrainedModel, folder: Path) -> None:
    """Write what a model has kept beside its weights, if structures were removed."""
    if hasattr(model, "kept_structures"):
        counts = {f"all_{block.kind}": block.count for block in kept_structures(model)}
        (folder / STRUCTURE).write_text(json.dumps({**listed_structures(model), **counts}) + "\n")


def listed_structures(model: nn.Module) -> dict[str, list[list[int]]]:
    """Numbers of the heads and neurons of each layer."""
    listed: dict[str, list[list[int]]] = {"heads": [], "neurons": []}
    for block, numbers in kept_structures(model).items():
        listed[block.kind].append(numbers)
    return listed


def restore_structure(model: PreTrainedModel, folder: Path) -> None:
    """Remove from a stock model what was removed when it was saved; without a file nothing.

    Raises:
        UserError: for a file that is damaged or belongs to another model.
    """
    if (folder / STRUCTURE).is_file():
        try:
            listed = json.loads((folder / STRUCTURE).read_text())
            kept = {block: listed[block.kind][block.layer] for block in structure_blocks(model)}
            remove_structures(model, kept)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"{folder / STRUCTURE} is damaged, or belongs to another model; copy the folder again, or train again."
            ) from error
