"""Read a recipe file of SparseML: its variables, its stages and its tagged modifiers, each value with its line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from winnow.errors import UserError, nearest
from winnow.sparseml.recipe_error import NoRecipeError, RecipeError
from winnow.sparseml.recipe_files import read_yaml
from winnow.sparseml.recipe_scope import Scope, TaggedModifier, has_modifiers, is_stage, variable_nodes
from winnow.sparseml.yaml_nodes import Entries, compose, line_of, mapping_entries
from winnow.sparseml.zoo import refuse_stub


@dataclass(frozen=True)
class Stage:
    """Modifiers that run together; a recipe without stages is a single stage without a name."""

    name: str
    modifiers: list[TaggedModifier]


@dataclass(frozen=True)
class RecipeFile:
    """The content of a file.

    Args:
        variables: names of all variables that can be overridden.
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
        overrides: new values of variables, in the root of the file and in its stages.

    Raises:
        NoRecipeError: if the file has no modifiers.
        UserError: with file, line and remedy, for anything that cannot be read.
    """
    refuse_stub("recipe.path", path)
    file = Path(path).expanduser()
    return parse_recipe(read_yaml(file), file, overrides or {})


def parse_recipe(text: str, path: Path, overrides: Mapping[str, Any]) -> RecipeFile:
    """Parse a YAML text whose lines are numbered as in the file ``path``."""
    try:
        recipe = _recipe(_root_entries(compose(text)), path, overrides)
    except RecipeError as error:
        raise error.in_file(path) from error
    unused = [name for name in overrides if name not in recipe.used]
    if unused:
        raise UserError(f"recipe.variables.{unused[0]} has no effect: no modifier in {path} depends on {unused[0]}.")
    return recipe


def _root_entries(root: yaml.Node) -> Entries:
    if isinstance(root, yaml.SequenceNode):  # a list of modifiers without a key
        return {"modifiers": (line_of(root), root)}
    return mapping_entries(root) if isinstance(root, yaml.MappingNode) else {}


def _recipe(root: Entries, path: Path, overrides: Mapping[str, Any]) -> RecipeFile:
    stages = {name: mapping_entries(node) for name, (_, node) in root.items() if is_stage(node)}
    _refuse_modifiers_outside(stages, root)
    known = sorted({name for entries in (root, *stages.values()) for name in variable_nodes(entries)})
    _check_overrides(overrides, known, path)
    whole = Scope(root, overrides)
    scopes = {"": whole} | {name: Scope(entries, overrides, whole) for name, entries in stages.items()}
    staged = [Stage(name, modifiers) for name, scope in scopes.items() if (modifiers := scope.modifiers())]
    if not staged:
        raise NoRecipeError(
            f"{path} contains no modifiers: it has no list of !Name items under a key with 'modifiers' in its name."
        )
    return RecipeFile(path, staged, known, whole.variables.used)


def _refuse_modifiers_outside(stages: Mapping[str, Entries], root: Entries) -> None:
    for name, (line, node) in root.items():
        if stages and name not in stages and has_modifiers(name, node):
            raise RecipeError(
                f"{name} is outside the stages {', '.join(stages)}; move its modifiers into one of them.", line
            )


def _check_overrides(overrides: Mapping[str, Any], known: list[str], path: Path) -> None:
    for name in overrides:
        if name not in known:
            listed = f"it has {', '.join(known)}" if known else "it has none"
            raise UserError(f"recipe.variables.{name}: {path} has no such variable; {listed}.{nearest(name, known)}")
