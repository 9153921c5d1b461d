"""What a run folder holds at the end, in the form that logs take."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from winnow.files.run_files import RESULT


def read_row(folder: Path) -> dict[str, Any]:
    """result.json; empty where the run was killed before it could write one."""
    path = folder / RESULT
    return json.loads(path.read_text()) if path.is_file() else {}


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the results table on one level: ``metrics/accuracy``, lists as JSON; the matrices are left out."""
    return dict(_leaves({name: value for name, value in row.items() if name != "sparsity_by_layer"}))


def group_of(folder: Path) -> str | None:
    """The name of the sweep that a run folder belongs to."""
    return folder.absolute().parent.name if (folder.absolute().parent / "sweep.json").is_file() else None


def deployment_files(folder: Path) -> list[Path]:
    """The files of a run's deployment; none where its row says nothing of one."""
    found = sorted((folder / "deployment").glob("*")) if "deployment" in read_row(folder) else []
    return [path for path in found if path.is_file()]


def _leaves(node: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}/")
        else:
            yield before + name, json.dumps(value) if isinstance(value, list) else value
