"""YAML nodes of a recipe file, with their lines; no tag is ever constructed, so that no tag can run code."""

import reprlib
from collections.abc import Mapping
from typing import Any

import yaml

from winnow.sparseml.recipe_error import RecipeError
from winnow.sparseml.variables import Reference

_MAX_VALUES = 100_000  # with all aliases expanded
_MAX_DEPTH = 40
_TOO_DEEP = f"the values are nested more than {_MAX_DEPTH} levels deep."

Entries = dict[str, tuple[int, yaml.Node]]  # key -> line, from 1, and value


class _Loader(yaml.SafeLoader):
    """Stops at too deep nesting, long before Python's recursion limit, which takes seconds to reach."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs give it no types
            raise RecipeError(_TOO_DEEP, event.start_mark.line + 1)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def compose(text: str) -> yaml.Node:
    """The root node of a text with one YAML document, not too large and not too deep."""
    try:
        documents = [node for node in yaml.compose_all(text, Loader=_Loader) if not is_null(node)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or str(error)).replace("\n", " ")
        if "'\\t'" in problem:
            problem = "the indentation contains a tab, which YAML forbids; use spaces"
        raise RecipeError(f"invalid YAML: {problem}.", mark.line + 1 if mark else 1) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"invalid YAML: {str(error).splitlines()[0]}.") from error
    if len(documents) > 1:
        raise RecipeError("a second YAML document begins here; a recipe is one document.", line_of(documents[1]))
    root = documents[0] if documents else yaml.MappingNode("tag:yaml.org,2002:map", [])
    _check_size(root, depth=0, sizes={})
    return root


def _check_size(node: yaml.Node, depth: int, sizes: dict[int, int]) -> int:
    """Count the values with all aliases expanded; refuse too many of them (an alias bomb) and too deep nesting."""
    if depth > _MAX_DEPTH:
        raise RecipeError(_TOO_DEEP, line_of(node))
    if id(node) not in sizes:
        size = 1 + sum(_check_size(child, depth + 1, sizes) for child in _children(node))
        if size > _MAX_VALUES:
            raise RecipeError(f"the aliases expand to more than {_MAX_VALUES:,} values.", line_of(node))
        sizes[id(node)] = size
    return sizes[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def mapping_entries(node: yaml.MappingNode) -> Entries:
    """The entries of a mapping, with ``<<`` merged in; a repeated key is an error."""
    written: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise RecipeError("a key must be a word.", line_of(key))
        if key.value in written:
            raise RecipeError(f"{key.value} is repeated; line {written[key.value]} has it already.", line_of(key))
        written[key.value] = line_of(key)
    if "<<" in written:
        try:
            yaml.SafeLoader("").flatten_mapping(node)
        except yaml.MarkedYAMLError as error:
            raise RecipeError(f"<< must refer to a mapping ({error.problem}).", written["<<"]) from error
    return {key.value: (line_of(key), value) for key, value in node.value}


def plain_value(node: yaml.Node, aliases: Mapping[int, str], definition: str = "") -> Any:
    """The value of a node in plain types, with a Reference for each alias of a variable.

    Args:
        aliases: id of a node -> the variable that it defines.
        definition: the variable that this node itself defines.
    """
    if aliases.get(id(node), definition) != definition:
        return Reference(aliases[id(node)])
    if is_tagged(node) or node.tag.startswith("tag:yaml.org,2002:python"):
        raise RecipeError(f"the tag {node.tag} is not allowed here; only modifiers have tags.", line_of(node))
    if isinstance(node, yaml.SequenceNode):
        return [plain_value(item, aliases) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {_scalar(key): plain_value(value, aliases) for key, value in node.value}
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        raise RecipeError("a key must be a word or a number.", line_of(node))
    if ":" in node.value:  # YAML 1.1 reads 2:4 as a number of base 60
        return node.value
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        kind = node.tag.rpartition(":")[2]
        raise RecipeError(f"{reprlib.repr(node.value)} cannot be read as {kind}.", line_of(node)) from error
    return value if isinstance(value, bool | int | float | None) else node.value


def is_tagged(node: yaml.Node) -> bool:
    return node.tag.startswith("!") and len(node.tag) > 1


def is_null(node: yaml.Node | None) -> bool:
    return node is None or node.tag == "tag:yaml.org,2002:null"


def line_of(node: yaml.Node) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1
