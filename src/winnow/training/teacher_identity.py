"""The key of stored teacher outputs: a digest of everything that they depend on, so equal keys mean equal bits."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import transformers
from datasets import Dataset

from winnow.data.flat_lists import flat_lists
from winnow.models.teacher import Teacher
from winnow.tasks.task import MODEL_INPUTS

_SOURCE = Path(__file__).parents[1]
_CODE = (
    "data/batching",
    "data/padding",
    "data/stored_outputs",
    "functional/quantization_grid",
    "models/fake_quant",
    "tasks/task",
    "training/teacher_cache",
)
# Environment variables that make oneDNN and MKL choose the kernels of another processor.
_KERNEL_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")
_OF_THE_FILE = ("_name_or_path", "transformers_version")  # describe where a configuration was read from


def identity_of_outputs(teacher: Teacher, rows: Dataset, trainer: pl.Trainer) -> dict[str, Any]:
    """Digests and names, of a teacher, encoded texts, and how the trainer would compute."""
    return {
        "teacher": _of_teacher(teacher),
        "texts": _of_texts(rows),
        "code": _digest(*((_SOURCE / f"{name}.py").read_bytes() for name in _CODE)),
        "versions": {"torch": str(torch.__version__), "transformers": transformers.__version__},
        "device": _hardware(trainer.strategy.root_device),
        "precision": str(trainer.precision),
    }


def _of_teacher(teacher: Teacher) -> str:
    config: Mapping[str, Any] = teacher.config.to_dict()
    described = {name: value for name, value in config.items() if name not in _OF_THE_FILE}
    attention = teacher.config._attn_implementation
    kind = type(teacher.model).__name__  # models for texts and for tokens may have the same weights
    parts = [json.dumps([kind, described, attention, teacher.order], sort_keys=True, default=str).encode()]
    for name, value in sorted(teacher.model.state_dict().items()):
        parts.append(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        parts.append(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return _digest(*parts)


def _of_texts(rows: Dataset) -> str:
    parts: list[Any] = []
    for name in (column for column in MODEL_INPUTS if column in rows.column_names):
        values, lengths = flat_lists(rows, name)
        parts += [name.encode(), lengths.astype(np.int32), values.astype(np.int32)]
    return _digest(*parts)


def _hardware(device: torch.device) -> dict[str, Any]:
    """What the order of summation in a matrix product depends on: processor, threads and kernels."""
    if device.type == "cuda":
        return {"gpu": torch.cuda.get_device_name(device)}
    return {
        "cpu": dict(torch.cpu.get_capabilities()),
        "threads": torch.get_num_threads(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        **{name: os.environ.get(name) for name in _KERNEL_VARIABLES},
    }


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(memoryview(part).cast("B")).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
