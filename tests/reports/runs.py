"""Folders of runs and sweeps as they lie on disk, without a training."""

import json
from pathlib import Path
from typing import Any

from winnow.reports.groups import Group
from winnow.reports.results import collect

ROW: dict[str, Any] = {
    "status": "ok",
    "error": None,
    "fingerprint": "0123456789ab",
    "cell": None,
    "settings": {},
    "command": "python -m src.train",
    "task": "sst2",
    "model": "/models/minilm",
    "recipe": "prune80",
    "teacher": "dense",
    "seed": 1,
    "metrics": {"accuracy": 0.88},
    "test_metrics": {},
    "epochs": 6.0,
    "sparsity": 0.8,
    "sparsity_by_layer": {"layer.0.weight": 0.8},
    "parameters": 22713986,
    "nonzero_parameters": 14220511,
    "layers": 6,
    "train_seconds": 5464.9,
}
DENSE = {"recipe": "dense", "teacher": "none", "sparsity": 0.0, "metrics": {"accuracy": 0.9}}
JOB = ("task", "model", "recipe", "teacher", "seed", "settings")


def put(folder: Path, **changes: Any) -> Path:
    """A run folder with a row."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(ROW | changes))
    return folder


def failed(error: str = "the loss is not finite") -> dict[str, Any]:
    """What a failed row has in place of figures."""
    return {"status": "failed", "error": error, "metrics": {}, "sparsity": None, "parameters": None}


def plan(sweep: Path, *jobs: dict[str, Any], published: Any = (), earlier: Any = None) -> Path:
    """The sweep.json of some jobs, each of them what differs from ROW, with the folder it goes to."""
    sweep.mkdir(parents=True, exist_ok=True)
    entries = [{name: (ROW | job)[name] for name in JOB} | {"folder": job["folder"]} for job in jobs]
    content = {"name": sweep.name, "command": "python -m src.train -m ...", "jobs": entries, "published": published}
    (sweep / "sweep.json").write_text(json.dumps(content | {"earlier": earlier or {}}))
    return sweep


def deployed(size: int, milliseconds: float, cpu: str = "EPYC") -> dict[str, Any]:
    """What an export with export.compare=true adds to a row."""
    timed = {"onnxruntime, int8 graph": {"latency": {"median": milliseconds / 1e3}}}
    latency = {"machine": {"cpu": cpu, "threads": 1}, "length": 128, "batches": {"1": timed}}
    return {"precision": "int8", "bytes": size, "compressed_bytes": size // 2, "latency": latency}


def published(**changes: Any) -> dict[str, Any]:
    """A published row of a sweep.json, beside ROW."""
    row = {"source": "Sanh", "task": "sst2", "model": "bert_base", "recipe": "prune80", "teacher": "dense"}
    return row | {"metrics": {"accuracy": 0.92}} | changes


def lines(folder: Path) -> dict[str, Group]:
    """The groups of a report by their labels."""
    return {group.label: group for group in collect([folder]).groups}
