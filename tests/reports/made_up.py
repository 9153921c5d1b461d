"""A folder as a sweep leaves it, of the third table of SparseML's SQuAD example; every figure in it is made up."""

import json
import math
import random
from pathlib import Path
from typing import Any

MODEL = "bert-base-uncased"
COMMAND = "python -m src.train -m experiment=squad_layers seed=1,2,3"
# recipe: F1 without a teacher, F1 with one, layers, sparsity
TABLE = {
    "dense": (88.3, 89.0, 12, 0.0),
    "layers9": (86.7, 87.9, 9, 0.0),
    "layers6": (81.6, 83.4, 6, 0.0),
    "layers3": (51.7, 43.8, 3, 0.0),
    "layers1": (26.2, 28.1, 1, 0.0),
    "prune20": (87.2, 89.5, 12, 0.2),
    "prune40": (86.3, 89.7, 12, 0.4),
    "prune60": (86.4, 89.4, 12, 0.6),
    "prune72": (85.5, 89.1, 12, 0.72),
    "layers6_prune80": (77.9, 84.7, 6, 0.8),
    "layers6_prune90": (73.5, 80.5, 6, 0.9),
    "layers6_prune97": (67.3, 72.4, 6, 0.97),
}
FAILED = ("layers1", "none", 2)
MISSING = ("layers6_prune97", "dense")  # all its seeds
_LAYER = 7_087_872  # parameters
_REST = 23_838_722
_MATRICES = {
    "attention.self.query": 1,
    "attention.self.key": 1,
    "attention.self.value": 1,
    "attention.output.dense": 1,
    "intermediate.dense": 4,
    "output.dense": 4,
}


def write_sweep(
    root: Path, seeds: tuple[int, ...] = (1, 2, 3), tasks: tuple[str, ...] = ("squad",), steps: int = 40
) -> Path:
    """All of the table but one failed seed and one cell that was never started; deployments of some.

    Args:
        root: the folder of the sweep; made.
        steps: of each training, for logs.
    """
    jobs = []
    for task in tasks:
        for recipe in TABLE:
            for teacher in ("none", "dense"):
                for seed in seeds:
                    words = {"task": task, "model": "bert_base", "recipe": recipe, "teacher": teacher, "seed": seed}
                    folder = f"{task}-{recipe}-{teacher}-bert_base-seed{seed}-0f3a6c63"
                    jobs.append({"folder": folder, **words, "settings": {}, "num_epochs": 10})
                    if (recipe, teacher) != MISSING:
                        write_run(root / folder, words, steps)
    published = [
        {
            "source": "SparseML",
            "task": "squad",
            "model": "bert_base",
            "recipe": "prune72",
            "teacher": "none",
            "metrics": {"f1": 85.49873, "exact_match": 76.4333},
            "note": "",
        }
    ]
    plan = {
        "name": "squad_layers-made-up",
        "command": COMMAND,
        "jobs": jobs,
        "published": published,
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "sweep.json").write_text(json.dumps(plan, indent=1))
    return root


def write_run(folder: Path, words: dict[str, Any], steps: int = 40) -> Path:
    (folder / "logs").mkdir(parents=True)
    failed = (words["recipe"], words["teacher"], words["seed"]) == FAILED
    row = {"status": "failed", "error": "loss is nan at step 812"} if failed else _good_row(words)
    row = {
        "error": None,
        "command": COMMAND,
        "cell": "-".join(map(str, list(words.values())[:4])),
        "settings": {},
        **words,
        **row,
    }
    (folder / "result.json").write_text(json.dumps(row))
    if not failed:
        _write_logs(folder, row, steps)
    return folder


def _good_row(words: dict[str, Any]) -> dict[str, Any]:
    noise = random.Random(str(words))
    *scores, layers, sparsity = TABLE[words["recipe"]]
    f1 = scores[words["teacher"] != "none"] + noise.gauss(0, 0.25)
    parameters = _REST + layers * _LAYER
    zeros = sparsity * layers * _LAYER
    by_layer = {
        f"bert.encoder.layer.{i}.{name}.weight": min(0.999, sparsity * (0.92 + 0.16 * i / 11 + 0.02 * (size > 1)))
        for i in range(layers)
        for name, size in _MATRICES.items()
    }
    graph = "onnxruntime, float32 graph"
    row = {
        "status": "ok",
        "metrics": {"f1": f1, "exact_match": f1 - 8 + noise.gauss(0, 0.2)},
        "test_metrics": {},
        "epochs": 10.0,
        "sparsity": sparsity,
        "sparsity_by_layer": by_layer,
        "parameters": parameters,
        "nonzero_parameters": round(parameters - zeros),
        "layers": layers,
        "train_seconds": 9000.0 * layers / 12 * (1.3 if words["teacher"] != "none" else 1.0),
    }
    if words["recipe"] in ("dense", "prune72", "layers6", "layers6_prune80"):
        latency = {"batches": {"1": {graph: {"latency": {"median": 0.004 * layers * noise.uniform(0.97, 1.03)}}}}}
        size = {"bytes": 4 * parameters, "compressed_bytes": round(3.4 * (parameters - zeros) + 0.3 * zeros)}
        row["deployment"] = {"precision": "float32", **size, "latency": latency}
    return row


def _write_logs(folder: Path, row: dict[str, Any], steps: int) -> None:
    noise = random.Random(str(folder.name))
    epochs, f1 = 10, row["metrics"]["f1"]
    lines = ["epoch,step,train/learning_rate,train/loss,val/exact_match,val/f1"]
    for step in range(steps):
        loss = 2.2 * math.exp(-4 * step / steps) + 0.4 + noise.uniform(-0.1, 0.1)
        lines.append(f"{step * epochs // steps},{step},0.00005,{loss},,")
        if (step + 1) % (steps // epochs) == 0:
            dip = 25 * row["sparsity"] * math.exp(-(((step / steps - 0.5) / 0.15) ** 2))
            score = f1 * (1 - 0.4 * math.exp(-8 * step / steps)) - dip + noise.gauss(0, 0.3)
            lines.append(f"{step * epochs // steps},{step},,,{score - 8},{score}")
    (folder / "logs" / "metrics.csv").write_text("\n".join([*lines, ""]))
    events = [("learning_rate", "learning rate: linear", 0, None)]
    if row["teacher"] != "none":
        events.append(("distillation", "learns from the teacher", 0, None))
    if row["sparsity"]:
        ramp = [0.1 + 0.05 * i for i in range(13)]
        events += [("pruning", "prunes", int(p * steps), row["sparsity"] * (p - 0.1) / 0.6) for p in ramp]
    keys = ("modifier", "change", "step", "sparsity")
    listed = [dict(zip(keys, e, strict=True)) | {"epoch": e[2] * epochs / steps, "learning_rate": 5e-5} for e in events]
    (folder / "events.json").write_text(json.dumps(listed))
