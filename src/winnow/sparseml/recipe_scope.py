"""The root of a recipe file or one of its stages: its variables, and the modifiers that use them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import yaml

from winnow.sparseml.recipe_error import RecipeError
from winnow.sparseml.variables import Variables
from winnow.sparseml.yaml_nodes import Entries, is_null, is_tagged, line_of, mapping_entries, plain_value

_METADATA = ("version", "metadata", "__metadata__")


@dataclass(frozen=True)
class TaggedModifier:
    """A modifier as written in the file.

    Args:
        tag: its name, without the ``!``.
        settings: its parameters, with every expression evaluated.
        lines: the line of each parameter, from 1.
        line: of the tag.
    """

    tag: str
    settings: dict[str, Any]
    lines: dict[str, int]
    line: int


class Scope:
    """The root of a file or one of its stages: its variables, and the modifiers that use them.

    Args:
        entries: of its mapping.
        overrides: new values of variables.
        outer: the root, for a stage, which may use the variables and anchors of the root.
    """

    def __init__(self, entries: Entries, overrides: Mapping[str, Any], outer: "Scope | None" = None) -> None:
        self.entries = entries
        nodes = variable_nodes(entries)
        self.aliases: dict[int, str] = {id(node): name for name, node in reversed(nodes.items())}
        self.aliases |= outer.aliases if outer else {}
        values = {name: plain_value(node, self.aliases, definition=name) for name, node in nodes.items()}
        values |= {name: value for name, value in overrides.items() if name in values}
        lines = {name: line for name, (line, _) in entries.items()}
        self.variables: Variables = Variables(values, lines, outer.variables if outer else None)

    def modifiers(self) -> list[TaggedModifier]:
        return [self._modifier(node) for node in _modifier_nodes(self.entries)]

    def _modifier(self, node: yaml.Node) -> TaggedModifier:
        tag, entries = node.tag.removeprefix("!"), Entries()
        if isinstance(node, yaml.MappingNode):
            entries = mapping_entries(node)
        elif node.value:
            raise RecipeError(f"!{tag} must be followed by its parameters, one per line: name: value.", line_of(node))
        settings = {}
        for name, (line, value) in entries.items():
            try:
                settings[name] = self.variables.fill_in(plain_value(value, self.aliases))
            except RecipeError as error:
                error.line = error.line or line
                raise
        return TaggedModifier(tag, settings, {name: line for name, (line, _) in entries.items()}, line_of(node))


def variable_nodes(entries: Entries) -> dict[str, yaml.Node]:
    """The entries that define variables."""
    return {
        name: node
        for name, (_, node) in entries.items()
        if name not in _METADATA and not is_stage(node) and not has_modifiers(name, node)
    }


def _modifier_nodes(entries: Entries) -> Iterator[yaml.Node]:
    for name, (line, node) in entries.items():
        if not has_modifiers(name, node) or is_null(node) or is_stage(node):
            continue
        if is_tagged(node):
            yield node
            continue
        if not isinstance(node, yaml.SequenceNode):
            raise RecipeError(f"{name} must be a list of !Name items.", line)
        if "modifiers" not in name:
            raise RecipeError(
                f"{name} lists modifiers, but its name does not contain 'modifiers'; rename it to {name}_modifiers.",
                line,
            )
        for item in node.value:
            if not is_tagged(item):
                raise RecipeError(
                    f"an item of {name} has no !Name; a modifier starts with one, such as - !GMPruningModifier.",
                    line_of(item),
                )
            yield item


def is_stage(node: yaml.Node) -> TypeGuard[yaml.MappingNode]:
    """True for a mapping that has a key for modifiers."""
    if not isinstance(node, yaml.MappingNode) or is_tagged(node):
        return False
    return any(isinstance(key, yaml.ScalarNode) and "modifiers" in key.value for key, _ in node.value)


def has_modifiers(name: str, node: yaml.Node) -> bool:
    """True for an entry that holds modifiers, by its name or by its tags."""
    listed = isinstance(node, yaml.SequenceNode) and any(is_tagged(item) for item in node.value)
    return "modifiers" in name or is_tagged(node) or listed
