"""Deployment folders of tiny models with random weights, and an engine that is the PyTorch model itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hydra.utils import get_class
from transformers import PreTrainedModel

from tests.toys import BERT, data_section, model_section
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.deployment.folder import Deployment
from winnow.deployment.graph import write_graph
from winnow.deployment.pipeline import Pipeline
from winnow.files.conf_folder import CONF
from winnow.models.pretrained import load_student
from winnow.tasks.task import Task
from winnow.tasks.text_classification import TextClassification

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
TEXTS = [
    "the plot was good",
    "the plot was dull",
    "the cast was not fine",
    "although the end was bad , the hero was good",
]


def task_section(family: str, data: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The shipped task section of a run, with changes."""
    shipped = yaml.safe_load((CONF / f"task/{family}.yaml").read_text())
    del shipped["defaults"]
    return {**shipped, **changes, "data": data_section(family, **(data or {}))}


def task_of(section: Mapping[str, Any], labels: list[str]) -> Task:
    task = get_class(section["_target_"])(**{name: section[name] for name in section if name != "_target_"})
    task.labels = labels
    return task


def random_model(task: Task, seed: int = 0) -> PreTrainedModel:
    """A model with weights so large, and a bias such, that texts get different answers."""
    torch.manual_seed(seed)
    config = {**BERT, "num_hidden_layers": 1, "initializer_range": 0.7}
    model = load_student(model_section(config=config), task, tiny_tokenizer()).eval()
    if isinstance(task, TextClassification):
        texts = tiny_tokenizer()(TEXTS, padding=True, return_tensors="pt")
        with torch.no_grad():
            model.classifier.weight *= 2
            model.classifier.bias -= model(**texts).logits.mean(dim=0)
    return model


@dataclass
class TorchEngine:
    """An engine that runs the model instead of a graph."""

    model: PreTrainedModel
    outputs: list[str]
    inputs: list[str]
    shapes: list[tuple[int, ...]]  # of all batches

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.shapes.append(inputs["input_ids"].shape)
        with torch.inference_mode():
            found = self.model(**{name: torch.from_numpy(values) for name, values in inputs.items()})
        return {name: found[name].numpy() for name in self.outputs}


def torch_pipeline(
    family: str,
    labels: list[str] | None = None,
    data: Mapping[str, Any] | None = None,
    *,
    batch_size: int | None = None,
    top_k: int | None = None,
    fixed: tuple[int, int] | None = None,
    **changes: Any,
) -> Pipeline:
    """A pipeline without files, whose model runs in PyTorch."""
    task = task_of(task_section(family, data, **changes), labels or [])
    rows, tokens = fixed or (None, None)
    outputs = list(task.output_names)
    deployment = Deployment(
        Path("nowhere"), {}, task, task.labels, INPUTS, outputs, "float32", rows, tokens, tiny_tokenizer()
    )
    engine = TorchEngine(random_model(task), outputs, INPUTS, [])
    return Pipeline(deployment, engine, batch_size=batch_size, top_k=top_k)


def deploy(
    folder: Path,
    family: str,
    labels: list[str] | None = None,
    data: Mapping[str, Any] | None = None,
    *,
    fixed: tuple[int, int] | None = None,
    **changes: Any,
) -> Path:
    """Write a deployment folder as an export does, without verification."""
    section = task_section(family, data, **changes)
    task = task_of(section, labels or [])
    model, outputs = random_model(task), list(task.output_names)
    rows, tokens = fixed or (None, None)
    folder.mkdir(parents=True)
    shape = {"batch_size": rows, "sequence_length": tokens}
    write_graph(model, folder / "model.onnx", inputs=INPUTS, outputs=outputs, opset=20, **shape)
    tiny_tokenizer().save_pretrained(folder)
    ours = {"task": section, "labels": task.labels, "inputs": INPUTS, "outputs": outputs, "precision": "float32"}
    (folder / "config.json").write_text(json.dumps({**model.config.to_dict(), "winnow": {**ours, **shape}}))
    return folder
