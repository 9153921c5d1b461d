"""A recipe file of SparseML: its variables, stages and tagged modifiers, each value with its line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from winnow.errors import UserError, nearest
from winnow.sparseml.expressions import RecipeError, Reference, Variables
from winnow.sparseml.recipe_files import NoRecipeError, read_yaml
from winnow.sparseml.zoo import refuse_stub

_MAX_VALUES = 100_000  # after every alias is written out
_MAX_DEPTH = 40
_TOO_DEEP = f"the values are nested more than {_MAX_DEPTH} deep."
_METADATA = ("version", "metadata", "__metadata__")


class _Loader(yaml.SafeLoader):
    """Stops at values that are nested too deep."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise RecipeError(_TOO_DEEP, self.peek_event().start_mark.line + 1)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


@dataclass(frozen=True)
class Tagged:
    """A modifier as it stands in the file.

    Args:
        tag: its name, without the ``!``.
        settings: its parameters, every expression worked out.
        lines: the line of each parameter, from 1.
        line: of the tag.
    """

    tag: str
    settings: dict[str, Any]
    lines: dict[str, int]
    line: int


@dataclass(frozen=True)
class Stage:
    """Modifiers that run together; a recipe without stages is one stage without a name."""

    name: str
    modifiers: list[Tagged]


@dataclass(frozen=True)
class RecipeFile:
    """What stands in a file.

    Args:
        variables: the names of all that can be overridden.
        used: those on which a modifier depends.
    """

    path: Path
    stages: list[Stage]
    variables: list[str]
    used: set[str]


def read_recipe(path: str, overrides: Mapping[str, Any] | None = None) -> RecipeFile:
    """Read a recipe from a .yaml or .md file.

    Args:
        path: of the file.
        overrides: values for variables of the file, in its root and in its stages.

    Raises:
        NoRecipeError: where the file has no modifiers.
        UserError: with the file, the line and the remedy, for anything that cannot be read.
    """
    refuse_stub("recipe.path", path)
    file = Path(path).expanduser()
    return parse_recipe(read_yaml(file), file, overrides or {})


def parse_recipe(text: str, path: Path, overrides: Mapping[str, Any]) -> RecipeFile:
    """The recipe in a YAML text whose lines are those of the file ``path``."""
    try:
        recipe = _recipe(_compose(text), path, overrides)
    except RecipeError as error:
        raise located(path, error) from error
    unused = [name for name in overrides if name not in recipe.used]
    if unused:
        raise UserError(f"recipe.variables.{unused[0]} has no effect: no modifier in {path} depends on {unused[0]}.")
    return recipe


def located(path: Path, error: RecipeError) -> UserError:
    """The error with its file and line, as a person reads it."""
    return UserError(f"{path}, line {error.line or 1}: {error}")


def _compose(text: str) -> yaml.Node:
    """The nodes of the only document; no tag is constructed, so none can do anything."""
    try:
        documents = [node for node in yaml.compose_all(text, Loader=_Loader) if not _is_null(node)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or str(error)).replace("\n", " ")
        if "'\\t'" in problem:
            problem = "a tab stands in the indentation, which YAML forbids; put spaces there"
        raise RecipeError(f"this is not YAML: {problem}.", mark.line + 1 if mark else 1) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"this is not YAML: {str(error).splitlines()[0]}.") from error

    if len(documents) > 1:
        raise RecipeError("a second YAML document begins here; a recipe is one document.", _line(documents[1]))
    root = documents[0] if documents else yaml.MappingNode("tag:yaml.org,2002:map", [])
    _check_size(root, depth=0, sizes={})
    return root


def _check_size(node: yaml.Node, depth: int, sizes: dict[int, int]) -> int:
    """The number of values with all aliases written out; too many (an alias bomb) or too deep ones are refused."""
    if depth > _MAX_DEPTH:
        raise RecipeError(_TOO_DEEP, _line(node))
    if id(node) not in sizes:
        size = 1 + sum(_check_size(child, depth + 1, sizes) for child in _children(node))
        if size > _MAX_VALUES:
            raise RecipeError(f"aliases make more than {_MAX_VALUES:,} values of this.", _line(node))
        sizes[id(node)] = size
    return sizes[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _recipe(root: yaml.Node, path: Path, overrides: Mapping[str, Any]) -> RecipeFile:
    if isinstance(root, yaml.SequenceNode):  # a bare list of modifiers
        key = yaml.ScalarNode("tag:yaml.org,2002:str", "modifiers", root.start_mark)
        root = yaml.MappingNode("tag:yaml.org,2002:map", [(key, root)], root.start_mark)
    entries = _entries(root) if isinstance(root, yaml.MappingNode) else {}
    staged = {name: node for name, (_, node) in entries.items() if _is_stage(node)}
    outside = [name for name, (_, node) in entries.items() if name not in staged and _holds_modifiers(name, node)]
    if staged and outside:
        raise RecipeError(
            f"{outside[0]} stands outside the stages {', '.join(staged)}; put its modifiers into one of them.",
            entries[outside[0]][0],
        )
    scopes = {"": entries} | {name: _entries(node) for name, node in staged.items()}
    raw = {name: _variables(scope) for name, scope in scopes.items()}
    known = sorted({variable for nodes in raw.values() for variable in nodes})
    for name in overrides:
        if name not in known:
            listed = f"it has {', '.join(known)}" if known else "it has none"
            raise UserError(f"recipe.variables.{name}: {path} has no such variable; {listed}.{nearest(name, known)}")
    outer: Variables | None = None
    anchors: dict[int, str] = {}  # of the root; a stage may use them too
    stages = []
    for name, scope in scopes.items():
        aliases = {id(node): variable for variable, node in reversed(raw[name].items())} | anchors
        values = {variable: _plain(node, aliases, definition=variable) for variable, node in raw[name].items()}
        values |= {variable: value for variable, value in overrides.items() if variable in values}
        variables = Variables(values, {key: line for key, (line, _) in scope.items()}, outer)
        if outer is None:
            outer, anchors = variables, aliases
        modifiers = [_modifier(node, variables, aliases) for node in _modifier_nodes(scope)]
        if modifiers:
            stages.append(Stage(name, modifiers))
    if not stages:
        raise NoRecipeError(
            f"{path} holds no modifiers: there is no list of !Name items under a key with 'modifiers' in its name."
        )
    assert outer is not None
    return RecipeFile(path, stages, known, outer.used)


def _variables(scope: Mapping[str, tuple[int, yaml.Node]]) -> dict[str, yaml.Node]:
    return {
        name: node
        for name, (_, node) in scope.items()
        if name not in _METADATA and not _is_stage(node) and not _holds_modifiers(name, node)
    }


def _modifier_nodes(scope: Mapping[str, tuple[int, yaml.Node]]) -> Iterator[yaml.Node]:
    for name, (line, node) in scope.items():
        if not _holds_modifiers(name, node) or _is_null(node) or _is_stage(node):
            continue
        if _is_tagged(node):
            yield node
            continue
        if not isinstance(node, yaml.SequenceNode):
            raise RecipeError(f"{name} must be a list of !Name items.", line)
        if "modifiers" not in name:
            raise RecipeError(
                f"modifiers stand under {name}, which has no 'modifiers' in its name; call it {name}_modifiers.", line
            )
        for item in node.value:
            if not _is_tagged(item):
                raise RecipeError(
                    f"an item of {name} has no !Name; a modifier begins with one, such as - !GMPruningModifier.",
                    _line(item),
                )
            yield item


def _modifier(node: yaml.Node, variables: Variables, aliases: Mapping[int, str]) -> Tagged:
    tag, entries = node.tag.removeprefix("!"), {}
    if isinstance(node, yaml.MappingNode):
        entries = _entries(node)
    elif node.value:
        raise RecipeError(f"!{tag} must be followed by its parameters, one on a line: name: value.", _line(node))
    settings = {}
    for name, (line, value) in entries.items():
        try:
            settings[name] = variables.fill_in(_plain(value, aliases))
        except RecipeError as error:
            error.line = error.line or line
            raise
    return Tagged(tag, settings, {name: line for name, (line, _) in entries.items()}, _line(node))


def _entries(node: yaml.Node) -> dict[str, tuple[int, yaml.Node]]:
    """Key -> (line, value) of a mapping, with ``<<`` merged in; a key that stands twice is an error."""
    assert isinstance(node, yaml.MappingNode)
    written: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise RecipeError("a key must be a word.", _line(key))
        if key.value in written:
            raise RecipeError(f"{key.value} stands here again; it is in line {written[key.value]} already.", _line(key))
        written[key.value] = _line(key)
    if "<<" in written:
        try:
            yaml.SafeLoader("").flatten_mapping(node)
        except yaml.MarkedYAMLError as error:
            raise RecipeError(f"<< must name a mapping ({error.problem}).", written["<<"]) from error
    return {key.value: (_line(key), value) for key, value in node.value}


def _plain(node: yaml.Node, aliases: Mapping[int, str], definition: str = "") -> Any:
    """The value of a node in plain types, with a Reference where it is an alias of a variable.

    Args:
        aliases: id of a node -> the variable that it defines.
        definition: the variable whose own value this is.
    """
    if aliases.get(id(node), definition) != definition:
        return Reference(aliases[id(node)])
    if _is_tagged(node) or node.tag.startswith("tag:yaml.org,2002:python"):
        raise RecipeError(f"the tag {node.tag} has no place here; only modifiers have tags.", _line(node))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, aliases) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return {_scalar(key): _plain(value, aliases) for key, value in node.value}
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        raise RecipeError("a key must be a word or a number.", _line(node))
    if ":" in node.value:  # YAML 1.1 takes 2:4 for a number of base 60
        return node.value
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        kind = node.tag.rpartition(":")[2]
        raise RecipeError(f"{node.value!r} cannot be read as {kind}.", _line(node)) from error
    return value if isinstance(value, (bool, int, float, type(None))) else node.value


def _is_stage(node: yaml.Node) -> bool:
    if not isinstance(node, yaml.MappingNode) or _is_tagged(node):
        return False
    return any(isinstance(key, yaml.ScalarNode) and "modifiers" in key.value for key, _ in node.value)


def _holds_modifiers(name: str, node: yaml.Node) -> bool:
    listed = isinstance(node, yaml.SequenceNode) and any(_is_tagged(item) for item in node.value)
    return "modifiers" in name or _is_tagged(node) or listed


def _is_tagged(node: yaml.Node) -> bool:
    return node.tag.startswith("!") and len(node.tag) > 1


def _is_null(node: yaml.Node | None) -> bool:
    return node is None or node.tag == "tag:yaml.org,2002:null"


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1
