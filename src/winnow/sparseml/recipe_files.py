"""The YAML text of a recipe file: a .yaml file as it is, or the recipe inside a Markdown file."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from winnow.errors import UserError, nearest
from winnow.sparseml.recipe_error import NoRecipeError

SUFFIXES = (".yaml", ".yml", ".md")
_MAX_BYTES = 1_000_000
_MODIFIERS = re.compile(r"\s*(- !\w|[\w-]*modifiers[\w-]*:\s*(\[|#|$))")


def recipe_name(path: str | Path) -> str:
    """The name of a recipe in results: the name of its file without the suffix, as letters, digits, - and _."""
    return re.sub(r"[^\w-]+", "_", Path(path).stem)


def read_yaml(file: Path) -> str:
    """The YAML of a recipe file, each line at its number in the file.

    Raises:
        NoRecipeError: for a Markdown file without a recipe.
        UserError: for a file that cannot be read.
    """
    if not file.is_file():
        siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise UserError(f"recipe.path={file}: there is no such file.{nearest(file.name, siblings)}")
    if file.suffix not in SUFFIXES:
        raise UserError(f"{file}: the name of a SparseML recipe must end in {', '.join(SUFFIXES)}.")
    if file.stat().st_size > _MAX_BYTES:
        raise UserError(f"{file} has {file.stat().st_size:,} bytes; a recipe has at most {_MAX_BYTES:,}.")
    try:
        text = file.read_text(encoding="utf-8-sig")  # Windows editors write a byte order mark
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text; save it as UTF-8.") from error
    return yaml_in_markdown(text, str(file)) if file.suffix == ".md" else text


def yaml_in_markdown(text: str, name: str) -> str:
    """The front matter, anywhere in the text, else the only ```yaml block with modifiers.

    Args:
        name: of the file, for messages.
    """
    lines = text.splitlines()
    fenced = list(_fenced(lines))
    for start, end in [*_front_matter(lines), *fenced[: 1 if len(fenced) == 1 else 0]]:
        return "\n" * start + "\n".join(lines[start:end])
    if fenced:
        starts = ", ".join(str(start + 1) for start, _ in fenced)
        raise UserError(
            f"{name} contains {len(fenced)} recipes, from the lines {starts}; save the one to run as a .yaml file."
        )
    raise NoRecipeError(f"{name} contains no recipe: no modifiers between --- lines or in a ```yaml block.")


def _front_matter(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """First line and end of each part between --- (or +++) lines that has modifiers."""
    marks = [i for i, line in enumerate(lines) if line.rstrip() in ("---", "+++")]
    for before, after in pairwise(marks):
        if _has_modifiers(lines[before + 1 : after]):
            yield before + 1, after


def _fenced(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """First line and end of each fenced block that has modifiers."""
    start = None
    for i, line in enumerate(lines):
        mark = line.strip()
        if start is None and mark in ("```yaml", "```yml"):
            start = i + 1
        elif start is not None and mark == "```":
            if _has_modifiers(lines[start:i]):
                yield start, i
            start = None


def _has_modifiers(lines: Sequence[str]) -> bool:
    return any(_MODIFIERS.match(line) for line in lines)
