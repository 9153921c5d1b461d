"""Convert recipe files of SparseML into native recipe files, with a report on each and a summary of all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from winnow.errors import UserError, describe, nearest, visible
from winnow.files.atomic import write_atomically
from winnow.sparseml.native import default_keys
from winnow.sparseml.recipe_error import NoRecipeError
from winnow.sparseml.recipe_files import SUFFIXES, recipe_name
from winnow.sparseml.translation import Translation, translate_file
from winnow.sparseml.translation_report import entries, report


@dataclass(frozen=True)
class Row:
    """A line of the summary; the status is converted, no recipe, or failed."""

    file: Path
    status: str
    modifiers: str = ""
    notices: str = ""


def recipe_files(path: Path, out: Path) -> list[Path]:
    """The file itself, or all .yaml, .yml and .md files below a folder, except hidden ones and those in ``out``."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"path={path}: there is no such file or folder.{nearest(path.name, siblings)}")
    written = out.resolve() if path.resolve() in out.resolve().parents else None
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix in SUFFIXES and file.is_file() and written not in file.resolve().parents
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if not found:
        raise UserError(f"path={path}: the folder contains no {', '.join(SUFFIXES)} files.")
    return found


def convert(files: Sequence[Path], out: Path) -> list[Row]:
    """Write NAME.yaml and NAME.report.md for each file, and summary.md; a file that fails does not stop the others.

    Raises:
        UserError: if none of the files contains a recipe.
    """
    rows, taken = [], set[str]()
    for file in files:
        try:
            row = _convert(file, out, taken)
        except NoRecipeError as error:
            row = Row(file, "no recipe", notices=str(error))
        except Exception as error:  # also a fault of the translation
            row = Row(file, "failed", notices=describe(error))
        rows.append(row)
    if all(row.status == "no recipe" for row in rows):
        raise UserError(f"none of the {len(rows)} files contains a recipe of SparseML. {rows[0].notices}")
    write_atomically(out / "summary.md", summary(rows))
    return rows


def _convert(file: Path, out: Path, taken: set[str]) -> Row:
    name = recipe_name(file)
    translation = translate_file(str(file), {}, None)
    if name in taken:
        raise UserError(f"another of the files has been written as {name}.yaml already; rename one of them.")
    target, text = out / f"{name}.yaml", native_file(name, file, translation)
    if target.is_file() and target.read_text(encoding="utf-8").splitlines()[:1] != text.splitlines()[:1]:
        raise UserError(
            f"{target} exists already and was not made from this file; rename the file, or choose another out=FOLDER."
        )
    taken.add(name)
    write_atomically(target, text)
    write_atomically(out / f"{name}.report.md", f"# {name}\n\n```text\n{report(translation)}```\n")
    notes = [note for entry in entries(translation) for note in entry.notes]
    counts = {word: sum(note.startswith(word) for note in notes) for word in ("ignored", "differs")}
    notices = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return Row(file, "converted", ", ".join(translation.natives), notices)


def native_file(name: str, origin: Path, translation: Translation) -> str:
    """The text of a recipe file that runs as ``recipe=NAME``."""
    natives, inherited = translation.natives, default_keys()
    defaults: list[Any] = [{"/training@_here_": "finetune"}]
    defaults += [{f"/modifier@{key}": native.file} for key, native in natives.items() if key not in inherited]
    if not any(native.needs_teacher for native in natives.values()):
        defaults.append({"override /teacher@_global_.teacher": "none"})
    elif "distillation" not in natives:
        defaults.append({"override /modifier@_global_.recipe.distillation": None})
    body: dict[str, Any] = {"name": name, "num_epochs": translation.num_epochs}
    for key, native in natives.items():
        settings = native.settings if key in inherited else native.differing()
        body |= {key: settings} if settings else {}
    head = f"# conf/recipe/{name}.yaml: from {origin.name}, a recipe of SparseML.\n"
    return head + _dump({"defaults": [*defaults, "_self_"]}) + _dump(body)


def _dump(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def summary(rows: Sequence[Row]) -> str:
    """A Markdown table of all files."""
    return visible("\n".join(_table(rows)) + "\n")


def _table(rows: Sequence[Row]) -> Iterator[str]:
    cells = [("file", "status", "modifiers", "notices")]
    cells += [(str(row.file), row.status, row.modifiers, row.notices.replace("|", "\\|")) for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(3)]
    for i, line in enumerate(cells):
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=False)]
        yield f"| {' | '.join(padded)} | {line[3]} |"
        if i == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|---|"
