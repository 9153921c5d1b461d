"""A task, a model and a trainer small enough for a test."""

import contextlib
import importlib
import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytorch_lightning as pl
import torch
import yaml
from datasets import ClassLabel, Dataset, Features, Value
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import get_method
from torch import Tensor
from transformers import PreTrainedModel

from winnow.config.model import Model
from winnow.config.recipe import Optimizer
from winnow.config.run import RunConfig
from winnow.config.section import Section
from winnow.config.task import Data, LabelledData, QuestionAnsweringData, TextClassificationData
from winnow.data.demo import reviews
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.files.conf_folder import CONF
from winnow.models.pretrained import load_student
from winnow.modifiers.masks import encoder_weights
from winnow.modifiers.modifier import Modifier, event_row, modifiers_of, recorded_events
from winnow.tasks.task import build_task
from winnow.tasks.text_classification import TextClassification
from winnow.training.module import FineTuner
from winnow.training.task_data import TaskData

ENCODER_PATTERN = r".*[._]layers?\.\d+\..*"
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
AnySection = TypeVar("AnySection", bound=Section)
OPTIMIZER = Optimizer(learning_rate=1e-2, weight_decay=0.01, max_grad_norm=1.0)


def with_changes(section: AnySection, **changes: Any) -> AnySection:
    """A section of a configuration with other settings, not checked again; ``a__b=1`` changes b within a."""
    for path, value in changes.items():
        name, _, inner = path.partition("__")
        value = with_changes(getattr(section, name), **{inner: value}) if inner else value
        section = section.model_copy(update={name: value})
    return section


def data_section(family: str = "text_classification", /, **changes: Any) -> dict[str, Any]:
    """The ``task.data`` section as shipped, with changes."""
    splits = yaml.safe_load((CONF / "data/splits.yaml").read_text())
    shipped = splits | yaml.safe_load((CONF / f"task/{family}.yaml").read_text())["data"]
    unknown = set(changes) - set(shipped)
    assert not unknown, unknown
    return {**shipped, **changes}


_DATA = {
    "text_classification": TextClassificationData,
    "token_classification": LabelledData,
    "question_answering": QuestionAnsweringData,
    "masked_lm": Data,
}


def typed_data(family: str = "text_classification", /, **changes: Any) -> Data:
    """The same section, typed as `winnow.data.splits` reads it."""
    return _DATA[family].read(data_section(family, **changes), "task.data")


def toy_task(
    *,
    metrics: Sequence[str] = ("accuracy",),
    regression: bool = False,
    multi_label: bool = False,
    max_length: int = 32,
    **others: Any,
) -> TextClassification:
    """A task with other settings, of itself or of its data."""
    shipped = yaml.safe_load((CONF / "task/text_classification.yaml").read_text())
    names = ("long_texts", "stride", "class_weights", "label_smoothing", "threshold")
    settings = {name: others.pop(name, shipped[name]) for name in names}
    return TextClassification(
        name="toy",
        metrics=metrics,
        regression=regression,
        multi_label=multi_label,
        max_length=max_length,
        **settings,
        data=data_section(**others),
    )


def model_section(name: str = "toy", config: dict[str, Any] | None = None) -> Model:
    """The ``model`` section of a model that is built from ``config``, or read from the folder ``name``."""
    return Model(name=name, config=config, shapes=None, learning_rate_scale=1.0)


def table(texts: Sequence[Any], labels: Sequence[Any], names: Sequence[str] | None = None) -> Dataset:
    """A split with the columns text and label; labels with names are a ClassLabel."""
    features = None
    if names is not None:
        features = Features({"text": Value("string"), "label": ClassLabel(names=list(names))})
    return Dataset.from_dict({"text": list(texts), "label": list(labels)}, features=features)


def toy_data(
    rows: int = 40, batch_size: int = 8, *, task: TextClassification | None = None, **changes: Any
) -> TaskData:
    """A few demo reviews as a data module, five batches an epoch."""
    task = task or toy_task()
    splits = task.prepare(reviews(train=rows, held_out=8))
    settings = {"batch_size": batch_size, "eval_batch_size": 8, "seed": 1, **changes}
    return TaskData(task=task, splits=splits, tokenizer=tiny_tokenizer(), **settings)


def toy_model(task: TextClassification, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A BERT of two layers of width 16 with the head of a prepared task."""
    torch.manual_seed(seed)
    return load_student(model_section(config={**BERT, **changes}), task, tiny_tokenizer())


@dataclass
class Fitted:
    model: PreTrainedModel
    module: FineTuner
    trainer: pl.Trainer

    @property
    def events(self) -> list[dict[str, Any]]:
        return recorded_events(modifiers_of(self.trainer))

    def encoder(self) -> dict[str, Tensor]:
        return {name: weight.detach() for name, weight in encoder_weights(self.model).items()}


def fit(
    *modifiers: Modifier,
    epochs: int = 4,
    data: TaskData | None = None,
    model: PreTrainedModel | None = None,
    optimizer: dict[str, float] | None = None,
    callbacks: Sequence[pl.Callback] = (),
    resume: Path | None = None,
    micro_batch_size: Any = None,
    **trainer_settings: Any,
) -> Fitted:
    """Train a toy model through a real Trainer, without validation."""
    data = data or toy_data()
    model = model or toy_model(data.task)
    module = FineTuner(
        model,
        task=data.task,
        optimizer=with_changes(OPTIMIZER, **(optimizer or {})),
        validation=data.validation,
        micro_batch_size=micro_batch_size,
    )
    settings: dict[str, Any] = {
        "max_epochs": epochs,
        "accelerator": "cpu",
        "devices": 1,
        "precision": "32-true",
        "logger": False,
        "enable_checkpointing": any(isinstance(c, pl.callbacks.ModelCheckpoint) for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        "use_distributed_sampler": False,
        "callbacks": [*modifiers, *callbacks],
    }
    trainer = pl.Trainer(**{**settings, **trainer_settings})
    torch.manual_seed(1)  # dropout is the same in each fit
    trainer.fit(module, data, ckpt_path=resume, weights_only=True if resume else None)
    return Fitted(model, module, trainer)


def planned(modifier: Modifier, learning_rate: float = OPTIMIZER.learning_rate) -> list[dict[str, Any]]:
    """The planned events of a modifier, in the form in which a run at a constant learning rate records them."""
    return [event_row(modifier, event, learning_rate) for event in modifier.events()]


def zeros_of(weight: Tensor) -> int:
    return weight.numel() - int(torch.count_nonzero(weight))


def every_epoch(folder: Path) -> pl.callbacks.ModelCheckpoint:
    """A checkpoint of the whole state after each epoch, epoch=0.ckpt the first."""
    return pl.callbacks.ModelCheckpoint(dirpath=folder, filename="{epoch}", save_top_k=-1)


TINY = [
    "model=tiny",
    "model.config.hidden_size=16",
    "model.config.num_hidden_layers=2",
    "model.config.num_attention_heads=2",
    "model.config.intermediate_size=24",
    "trainer.accelerator=cpu",
]


def review_tables(folder: Path, train: int = 48, held_out: int = 16) -> Path:
    """Write CSV files with string labels, as a user has them; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in reviews(train=train, held_out=held_out).items():
        labels = [split.features["label"].int2str(y) for y in split["label"]]
        rows = [f'"{text}",{label}' for text, label in zip(split["text"], labels, strict=True)]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def own_data(folder: Path) -> list[str]:
    return ["task=text_classification", f"task.data.path={folder}", "task.data.batch_size=8", *TINY]


def changed(arguments: Sequence[str], *overrides: str) -> list[str]:
    """Arguments with some overrides in place of those of the same names."""
    names = {override.partition("=")[0] for override in overrides}
    return [*(each for each in arguments if each.partition("=")[0] not in names), *overrides]


def run(name: str, *arguments: str, folder: Path) -> str:
    """The output of ``python -m src.NAME ARGS``, run in this process and in a folder; a failure is a SystemExit."""
    main = importlib.import_module(f"winnow.commands.{name}").main
    GlobalHydra.instance().clear()
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output), contextlib.chdir(folder):
        patch.setattr(sys, "argv", [f"src/{name}.py", *arguments])
        main()
    return output.getvalue()


def failure(name: str, *arguments: str, folder: Path) -> str:
    """The error message of a command that fails."""
    with pytest.raises(SystemExit) as ended:
        run(name, *arguments, folder=folder)
    assert isinstance(ended.value.code, str), ended.value.code
    return ended.value.code


def run_command(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a subprocess, from the root of the repository."""
    command = [sys.executable, "-m", f"src.{name}", *arguments]
    return subprocess.run(command, cwd=CONF.parent, capture_output=True, text=True, timeout=900)


def demo_data(config: RunConfig, rows: int = 24, batch_size: int = 8, **changes: Any) -> TaskData:
    """A few generated examples of a demo task."""
    task, generator = build_task(config.task), config.task.data.generator
    assert generator is not None
    splits = task.prepare(get_method(generator)(train=rows, held_out=8))
    settings = {"batch_size": batch_size, "eval_batch_size": 8, "seed": 1, **changes}
    return TaskData(task=task, splits=splits, tokenizer=tiny_tokenizer(), **settings)
