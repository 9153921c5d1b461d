"""Files with a final sparsity for each matrix: ``recipe.pruning.final_sparsity=FILE.yaml``."""

from pathlib import Path
from typing import Any

import yaml

from winnow.errors import UserError, first_line
from winnow.files.local_files import check_is_file

_SUFFIXES = (".yaml", ".yml", ".json")


def with_sparsities_of_files(recipe: Any) -> Any:
    """The plain values of a recipe with the content of each file that a modifier names as its final_sparsity.

    Raises:
        UserError: for a file that cannot be read; its content is checked as one that was typed.
    """
    if not isinstance(recipe, dict):
        return recipe
    return {name: _with_content(node, f"recipe.{name}") for name, node in recipe.items()}


def _with_content(node: Any, path: str) -> Any:
    file = node.get("final_sparsity") if isinstance(node, dict) else None
    if not isinstance(file, str) or not file.endswith(_SUFFIXES):
        return node
    check_is_file(Path(file), f"{path}.final_sparsity")
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}.final_sparsity={file} is no YAML ({first_line(error)}).") from error
    return {**node, "final_sparsity": content}
