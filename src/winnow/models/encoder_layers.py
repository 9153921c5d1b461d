"""The numbered layers of an encoder: find them, drop some, and copy weights from a model that has all of them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from winnow.errors import UserError


def layer_list(model: nn.Module, called: str = "the model") -> tuple[str, nn.ModuleList]:
    """The list of an encoder's layers and its full name, e.g. ``bert.encoder.layer``.

    Args:
        model: of transformers.
        called: words for the model in the error message.

    Raises:
        UserError: for a model without such a list, such as ALBERT, whose layers share their weights.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and re.fullmatch(r"(.*\.)?layers?", name):
            return name, module
    raise UserError(
        f"{called} ({type(model).__name__}) has no list of encoder layers; use another model, such as a BERT, RoBERTa, "
        "DistilBERT, ELECTRA or MiniLM, or a recipe that treats all weights alike, such as gmp80."
    )


def kept_layers(model: nn.Module) -> tuple[list[int], int]:
    """For each layer its number before any was dropped, and the number of layers before."""
    count = len(layer_list(model)[1])
    kept: tuple[list[int], int] = getattr(model, "kept_layers", (list(range(count)), count))
    return kept


def keep_layers(model: nn.Module, kept: Sequence[int]) -> None:
    """Remove all other layers from the model and its configuration; a second call with the same layers does nothing.

    Args:
        model: changed in place; `kept_layers` returns what was kept.
        kept: ascending numbers of layers, counted before any was dropped.

    Raises:
        UserError: if other layers were dropped before, or if a layer would move to the place of one with other
            parameters, such as the first of ModernBERT, which lacks a norm.
    """
    before, count = kept_layers(model)
    if before == list(kept):
        return
    if len(before) < count:
        raise UserError(
            f"layers were dropped already ({_listed(before)} of {count} are left); drop layers once in a recipe."
        )
    name, layers = layer_list(model)
    for place, i in enumerate(kept):
        if _shapes(layers[i]) != _shapes(layers[place]):
            raise UserError(
                f"layer {i} of {type(model).__name__} cannot take the place of layer {place}, which has other "
                f"parameters; keep layer {place} too."
            )
    left = nn.ModuleList(layers[i] for i in kept)
    for i, layer in enumerate(left):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                numbered: Any = module
                numbered.layer_idx = i
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, left)
    changed: Any = model
    changed.config.num_hidden_layers = len(left)  # DistilBERT's configuration maps it to n_layers
    if kinds := getattr(changed.config, "layer_types", None):  # whether the attention of a layer is local or global
        changed.config.layer_types = [kinds[i] for i in kept]
    changed.kept_layers = (list(kept), count)


def state_of_kept_layers(teacher: nn.Module, student: nn.Module) -> Mapping[str, Tensor]:
    """A teacher's state dict for a student: without the layers that it has dropped, the others renumbered."""
    state = teacher.state_dict()
    if not hasattr(student, "kept_layers"):
        return state
    kept, count = kept_layers(student)
    name, layers = layer_list(teacher, "the teacher")
    if len(layers) != count:
        return state
    return {
        f"{name}.{kept.index(int(part[1]))}.{part[2]}" if part else key: value
        for key, value in state.items()
        if not (part := re.fullmatch(rf"{re.escape(name)}\.(\d+)\.(.*)", key)) or int(part[1]) in kept
    }


def _shapes(layer: nn.Module) -> frozenset[tuple[str, tuple[int, ...]]]:
    return frozenset((name, tuple(value.shape)) for name, value in layer.state_dict().items())


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
