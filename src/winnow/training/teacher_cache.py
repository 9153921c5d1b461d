"""A teacher's outputs on the training data, computed once before the first step and read in every epoch.

They are always computed in the same way: the training texts sorted by length, in batches that depend on the lengths
alone. So a student learns from the same numbers whether its run finds them in the cache, fills the cache, or keeps them
for itself, on every processor.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl
import torch

from winnow.config.outputs import Cache
from winnow.data.batching import batches_of_tokens
from winnow.data.cache_folder import keep_within, mark_used
from winnow.data.stored_outputs import Layout, StoredOutputs, write_outputs
from winnow.errors import UserError, is_disk_full
from winnow.files.atomic import save_folder
from winnow.files.locks import named_lock
from winnow.models.finite import are_finite
from winnow.models.teacher import Teacher
from winnow.processes import is_main_process
from winnow.training.task_data import TaskData
from winnow.training.teacher_identity import identity_of_outputs

_TOKENS = 2048  # of a batch of the teacher; on CPUs the fastest for short texts and for long ones


class _LiveError(Exception):
    """The reason why a teacher must run live, in each training batch."""


@dataclass(frozen=True)
class TeacherCache:
    """The cache as one run uses it.

    Args:
        teacher: is moved to the device of the trainer.
        data: of the run.
        trainer: of the run; the teacher computes in its precision.
        settings: the ``cache`` section.
        run_folder: holds outputs that do not fit into the cache until `remove_own`.
    """

    teacher: Teacher
    data: TaskData
    trainer: pl.Trainer
    settings: Cache
    run_folder: Path

    def outputs(self, steps: int) -> StoredOutputs | None:
        """The teacher's outputs for all training examples, found or computed now; None if it must run live.

        Prints a line about which of these happened.

        Args:
            steps: optimizer steps of the run.

        Raises:
            UserError: if the folder cannot be written to.
        """
        try:
            self._check_use(steps)
            return self._find_or_compute()
        except _LiveError as why:
            _report(f"{why}, so it runs live.")
            return None

    def remove_own(self) -> None:
        """Remove the outputs in the run folder; to be called after the training."""
        shutil.rmtree(self._own, ignore_errors=True)

    @property
    def _own(self) -> Path:
        return self.run_folder / "teacher_outputs"

    def _check_use(self, steps: int) -> None:
        batches = steps * self.trainer.accumulate_grad_batches * self.trainer.world_size
        if self.data.task.random_inputs:
            raise _LiveError("its texts look different in each batch")
        if self.teacher.shows_states:
            raise _LiveError("its hidden states are learnt too")
        if batches < len(self.data.train_dataloader()):
            raise _LiveError("the training ends within the first epoch")

    def _find_or_compute(self) -> StoredOutputs:
        identity = identity_of_outputs(self.teacher, self.data.encoded["train"], self.trainer)
        identity["stored_in"] = self.settings.precision
        name = f"teacher-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]}"
        shared, limit = Path(self.settings.folder), int(1e9 * self.settings.gigabytes)
        folders = [shared, self._own] if limit else [self._own]
        try:
            with named_lock(folders[0], name, waiting="Teacher's outputs: another process computes them."):
                began = time.monotonic()
                found, how = next(filter(None, (self._open(folder / name) for folder in folders)), None), "found"
                if found is None:
                    entry = self._compute(folders, name, identity)
                    how = f"computed in {time.monotonic() - began:,.0f} s,"
                    found = StoredOutputs(entry, self.data.lengths("train"))
                mark_used(found.folder)
            if limit:
                keep_within(shared, limit)
        except OSError as error:
            if not limit:
                raise
            raise UserError(
                f"cache.folder={shared} cannot be used ({error}); name another folder, or turn the cache off with "
                "cache.gigabytes=0."
            ) from error
        _report(f"{found.rows:,} texts, {found.bytes / 1e6:,.1f} MB, {how} in {found.folder}")
        return found

    def _open(self, entry: Path) -> StoredOutputs | None:
        if not entry.exists():
            return None
        try:
            return StoredOutputs(entry, self.data.lengths("train"))
        except ValueError as error:
            print(f"note: {entry} is damaged ({error}); the teacher's outputs are computed anew.")
            return None

    def _compute(self, folders: list[Path], name: str, identity: Mapping[str, Any]) -> Path:
        """Compute the outputs: in the cache (the first folder) if they fit, else in the last; returns their folder."""
        computed, lengths = self._computed(), self.data.lengths("train")
        rows, first = next(computed)
        layout = Layout.of(vars(first), per_token=self.data.task.outputs_per_token, dtype=self.settings.precision)
        size = layout.bytes(lengths) / 1e9
        fits = size <= self.settings.gigabytes
        folder = folders[0] if fits else folders[-1]
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / 1e9
        if size > free:
            raise _LiveError(f"its outputs take {size:.3g} GB, and {free:.3g} are free in {folder}")
        _report(f"{len(lengths):,} texts, computed once for all epochs{' and runs' if fits else ' of this run'}.")
        facts = {"task": self.data.task.name, "made_by": identity}
        batches = chain([(rows, first)], computed)
        try:
            save_folder(folder / name, lambda entry: write_outputs(entry, batches, lengths, layout, **facts))
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise _LiveError(f"its outputs could not be written ({error})") from error
        return folder / name

    def _computed(self) -> Iterator[tuple[list[int], SimpleNamespace]]:
        """Rows of the training split and the float32 outputs for them, those of the longest texts first."""
        device, task = self.trainer.strategy.root_device, self.data.task
        teacher, collate = self.teacher.to(device).eval(), task.collator(self.data.tokenizer)
        examples = self.data.encoded["train"].remove_columns("length")
        for rows in batches_of_tokens(self.data.lengths("train"), _TOKENS):
            batch = {name: values.to(device) for name, values in collate(examples[rows]).items()}
            with self.trainer.precision_plugin.forward_context():
                outputs = task.outputs(teacher, batch)
            values = SimpleNamespace(**{name: getattr(outputs, name).float() for name in task.output_names})
            self._check_finite(rows, values)
            yield rows, values

    def _check_finite(self, rows: Sequence[int], values: SimpleNamespace) -> None:
        precision = self.settings.precision
        if not are_finite(SimpleNamespace(**{k: v.to(getattr(torch, precision)) for k, v in vars(values).items()})):
            raise UserError(
                f"the outputs of the teacher are NaN or infinite in {precision}, in a batch of "
                f"{self.data.described_rows(rows)}. Name another teacher, or set trainer.precision=32-true and "
                "cache.precision=float32."
            )


def _report(what: str) -> None:
    if is_main_process():
        print(f"Teacher's outputs: {what}", flush=True)
