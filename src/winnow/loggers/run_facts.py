"""Content of a run folder in the form that loggers accept."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from winnow.config.labels import folder_name, model_label
from winnow.config.run import RunConfig
from winnow.files.json_text import json_text, read_json
from winnow.files.run_files import RESULT


def read_row(folder: Path) -> dict[str, Any]:
    """result.json; empty if the run was killed before it wrote one."""
    path = folder / RESULT
    return read_json(path) if path.is_file() else {}


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """result.json on one level with keys such as ``metrics/accuracy`` and lists as JSON, without sparsity by matrix."""
    return dict(_leaves({name: value for name, value in row.items() if name != "sparsity_by_layer"}))


def group_of(folder: Path) -> str | None:
    """The name of the sweep that a run folder belongs to, or None."""
    return folder.absolute().parent.name if (folder.absolute().parent / "sweep.json").is_file() else None


def name_of(folder: Path, config: RunConfig) -> str:
    """The name of a run: that of its folder in a sweep, whose other runs may differ in settings, else made alike."""
    if group_of(folder):
        return folder.absolute().name
    model = model_label(config.model.name)
    return folder_name(config.task.name, config.recipe.name, config.teacher.kind, model, f"seed{config.seed}")


def deployment_files(folder: Path) -> list[Path]:
    """The files of a run's deployment; none if result.json has no ``deployment``."""
    found = sorted((folder / "deployment").glob("*")) if "deployment" in read_row(folder) else []
    return [path for path in found if path.is_file()]


def _leaves(node: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}/")
        else:
            yield before + name, json_text(value) if isinstance(value, list) else value
