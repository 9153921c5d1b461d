"""One timed training, by ``transformers.Trainer`` or by Winnow with the same calls as ``python -m src.train``."""

import argparse
import contextlib
import copy
import gc
import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
import transformers
from datasets import Dataset
from pytorch_lightning.callbacks import Checkpoint
from transformers import DataCollatorWithPadding, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from winnow.config.checks import check
from winnow.config.resolve import run_config
from winnow.config.run import RunConfig
from winnow.data.batching import LengthGroupedBatches
from winnow.data.splits import load_splits
from winnow.loggers.build import build_loggers
from winnow.models.pretrained import load_student, load_tokenizer
from winnow.models.structures import remove_structures, structure_blocks
from winnow.models.teacher import Teacher
from winnow.modifiers.modifier import build_modifiers
from winnow.quiet import quiet_libraries
from winnow.tasks.task import build_task
from winnow.training.module import FineTuner
from winnow.training.task_data import TaskData
from winnow.training.teacher_cache import TeacherCache
from winnow.training.trainer import best_precision, build_trainer, callbacks_of, loader_workers


@dataclass
class Bench:
    """Data, weights and settings that all variants share.

    Args:
        options: the command line.
        config: the dense configuration; every variant uses its optimizer and batch size.
        splits: prepared by the task; ``train`` holds the examples of a round.
        student: the starting weights; each training gets a copy.
    """

    options: argparse.Namespace
    config: RunConfig
    task: Any
    splits: Any
    tokenizer: Any
    student: Any

    def train(self, variant: str, batches: int) -> float:
        """Samples per second of one epoch over the first ``batches`` batches."""
        size = self.config.task.data.batch_size
        examples = self.splits["train"].select(range(batches * size))
        pl.seed_everything(self.config.seed, workers=True, verbose=False)
        gc.collect()  # reference cycles keep the models of the previous training alive, which slows the next one down
        with tempfile.TemporaryDirectory() as folder:
            run = self._trainer_seconds if variant.startswith("trainer") else self._winnow_seconds
            return len(examples) / run(variant, examples, Path(folder))

    def _winnow_seconds(self, variant: str, examples: Dataset, folder: Path) -> float:
        """Seconds of a training with the calls of `winnow.commands.train`, without validation and checkpoints."""
        quantised = ["+modifier@recipe.quantization=quantization", "recipe.quantization.start_epoch=0"]
        one_step = self.config.task.data.batch_size / len(examples)  # epochs
        overrides = {
            "winnow masks": ["recipe=oneshot80"],
            "winnow distillation": ["teacher=self"],
            "winnow cached distillation": ["teacher=self"],
            "winnow quantised": [*quantised, "recipe.quantization.disable_observer_epoch=-1"],
            "winnow frozen": [*quantised, f"recipe.quantization.disable_observer_epoch={one_step}"],
        }
        precision = ["trainer.precision=32-true"] if variant.endswith(" fp32") else []
        config = compose(self.options, overrides.get(variant.removesuffix(" fp32"), []) + precision)
        student = copy.deepcopy(self.student)
        if variant == "winnow quarter":
            remove_structures(student, {b: list(range(b.count // 4)) for b in structure_blocks(student)})
        teacher, cached = Teacher(copy.deepcopy(self.student)), variant == "winnow cached distillation"
        trainer, module, data = winnow_training(
            config, self.task, self.tokenizer, student, examples, folder, teacher=teacher, cached=cached
        )
        timer = LightningTimer()  # the last callback, so that it starts after one-shot pruning
        only_timed(trainer, timer)
        trainer.fit(module, data)
        return timer.seconds

    def _trainer_seconds(self, variant: str, examples: Dataset, folder: Path) -> float:
        """Seconds of a training by ``transformers.Trainer``."""
        optimizer, trainer = self.config.recipe.optimizer, self.config.trainer
        padded = variant == "trainer padded"
        arguments = TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=1,
            per_device_train_batch_size=self.config.task.data.batch_size,
            optim="adamw_torch_fused",
            learning_rate=optimizer.learning_rate,
            weight_decay=optimizer.weight_decay,
            warmup_steps=self.config.recipe.plain()["learning_rate"]["warmup"],
            max_grad_norm=optimizer.max_grad_norm,
            lr_scheduler_type="linear",
            bf16=not padded and best_precision("cpu") == "bf16-mixed",
            train_sampling_strategy="sequential",  # the order is that of _ordered
            dataloader_num_workers=loader_workers(trainer.num_workers),
            dataloader_pin_memory=False,
            seed=self.config.seed,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        padding: dict[str, Any] = {"padding": "max_length", "max_length": 128} if padded else {}
        timer = TrainerTimer()
        run = transformers.Trainer(
            model=copy.deepcopy(self.student),
            args=arguments,
            train_dataset=self._ordered(variant, self.task.encode(examples, self.tokenizer, training=True)),
            data_collator=DataCollatorWithPadding(self.tokenizer, **padding),
            callbacks=[timer],
        )
        run.remove_callback(transformers.PrinterCallback)
        run.train()
        return timer.seconds

    def _ordered(self, variant: str, encoded: Dataset) -> Dataset:
        """The examples in the order of training.

        Trainer groups examples by length within 50 batches, but within fewer if the training set has fewer than 200.
        This benchmark has fewer, so the examples are grouped here, as Trainer groups those of a large training set.
        At equal settings Trainer gets the batches of Winnow.
        """
        size, seed = self.config.task.data.batch_size, self.config.seed
        if variant == "trainer padded":
            return encoded
        if variant == "trainer equal":
            return encoded.select(itertools.chain(*LengthGroupedBatches(encoded["length"], size, seed=seed)))
        generator = torch.Generator().manual_seed(seed)
        indices = get_length_grouped_indices(encoded["length"], size, 50, generator)  # type: ignore[no-untyped-call]  # transformers has no annotation
        return encoded.select(indices)


def winnow_training(
    config: RunConfig,
    task: Any,
    tokenizer: Any,
    student: Any,
    examples: Dataset,
    folder: Path,
    *,
    teacher: Teacher,
    cached: bool,
) -> tuple[pl.Trainer, FineTuner, TaskData]:
    """What `winnow.commands.train` builds to train, without validation.

    Args:
        cached: the outputs of the teacher are stored, as in all epochs after the first.
    """
    data = TaskData(
        task=task,
        splits={"train": examples},
        tokenizer=tokenizer,
        batch_size=config.task.data.batch_size,
        eval_batch_size=config.task.data.eval_batch_size,
        num_workers=loader_workers(config.trainer.num_workers),
        seed=config.seed,
    )
    module = FineTuner(
        student,
        task=task,
        optimizer=config.recipe.optimizer,
        validation=data.validation,
        micro_batch_size=config.trainer.micro_batch_size,
    )
    modifiers, loggers = build_modifiers(config.recipe, teacher=teacher), build_loggers(config.logger, folder)
    trainer = build_trainer(config, folder, modifiers, f"val/{task.metric_names[0]}", loggers)
    trainer.limit_val_batches = 0
    if cached:
        cache = TeacherCache(teacher, data, trainer, config.cache.model_copy(update={"gigabytes": 0.0}), folder)
        with contextlib.redirect_stdout(None):
            teacher.stored = cache.outputs(len(data.train_dataloader()))
        assert teacher.stored is not None
    return trainer, module, data


def only_timed(trainer: pl.Trainer, timer: pl.Callback) -> None:
    """Add a last callback to a Trainer, and take out those that write checkpoints."""
    kept = [callback for callback in callbacks_of(trainer) if not isinstance(callback, Checkpoint)]
    trainer.callbacks = [*kept, timer]  # type: ignore[attr-defined]  # Lightning sets `callbacks` outside of the class


class LightningTimer(pl.Callback):
    """Seconds from the start of the first step to the end of the last."""

    def on_train_start(self, *args: Any) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        self.seconds = time.perf_counter() - self._started


class TrainerTimer(transformers.TrainerCallback):
    """`LightningTimer` for ``transformers.Trainer``."""

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds = time.perf_counter() - self._started


def compose(options: argparse.Namespace, overrides: list[str]) -> RunConfig:
    """The configuration that ``python -m src.train`` composes, for one epoch on the examples of the benchmark."""
    rows = max(options.batches, options.padded_batches) * options.batch_size
    defaults = [
        "task=sst2",
        *([f"task.data.path={options.data}"] if options.data else []),
        f"task.data.batch_size={options.batch_size}",
        f"task.data.max_train_samples={rows}",
        "model=minilm",
        *([f"model.name={options.model}"] if options.model else []),
        "trainer=cpu",
        "trainer.progress_bar=false",
        "recipe=dense",
        "teacher=none",
        "recipe.num_epochs=1",
    ]
    replaced = {override.split("=")[0] for override in overrides}
    kept = [default for default in defaults if default.split("=")[0] not in replaced]
    with hydra.initialize(version_base="1.3", config_path="../conf"):
        config = run_config(hydra.compose("train", [*kept, *overrides]))
    check(config)
    return config


def prepare(options: argparse.Namespace) -> Bench:
    """Read the data and load the weights."""
    quiet_libraries()
    config = compose(options, [])
    task = build_task(config.task)
    splits = task.prepare(load_splits(config.task.data))
    tokenizer = load_tokenizer(config.model, **task.tokenizer_options)
    student = load_student(config.model, task, tokenizer)
    return Bench(options, config, task, splits, tokenizer, student.train())  # dropout on, as in Trainer
