"""A teacher's outputs on the training data: worked out once for a teacher and data, read by every epoch and run."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl

from src.data.batching import SortedBatches
from src.data.cache_folder import keep_within, mark_used
from src.data.datamodule import TaskData
from src.data.stored_outputs import Layout, StoredOutputs, write_outputs
from src.errors import UserError, is_disk_full
from src.locks import only_one
from src.models.by_length import outputs_by_length
from src.models.identity import identity_of_outputs
from src.models.teacher import Teacher
from src.run_folder import is_main_process
from src.whole_files import save_folder


class _LiveError(Exception):
    """Why a teacher must be asked in each batch."""


@dataclass(frozen=True)
class TeacherCache:
    """The cache as one run uses it.

    Args:
        teacher: is moved to the device of the trainer.
        data: of the run.
        trainer: of the run; the teacher computes as its training would.
        settings: the ``cache`` section.
    """

    teacher: Teacher
    data: TaskData
    trainer: pl.Trainer
    settings: Mapping[str, Any]

    def outputs(self, steps: int) -> StoredOutputs | None:
        """What the teacher says of all training examples, found or worked out now; None, and a line why, if it cannot.

        Args:
            steps: of the optimizer that the run takes.

        Raises:
            UserError: if the folder cannot be written to.
        """
        folder = Path(self.settings["folder"])
        try:
            self._check_use(steps)
            found = self._found_or_made(folder)
            keep_within(folder, limit=int(1e9 * self.settings["gigabytes"]))
        except _LiveError as why:
            _say(f"{why}, so it runs live.")
            return None
        except OSError as error:
            raise UserError(
                f"cache.folder={folder} cannot be used ({error}); name another folder, or turn the cache off with "
                "cache.gigabytes=0."
            ) from error
        return found

    def _check_use(self, steps: int) -> None:
        batches = steps * self.trainer.accumulate_grad_batches * self.trainer.world_size
        if self.settings["gigabytes"] == 0:
            raise _LiveError("cache.gigabytes is 0")
        if self.data.task.random_inputs:
            raise _LiveError("its texts look different in each batch")
        if self.teacher.shows_states:
            raise _LiveError("its hidden states are learnt too")
        if batches < len(self.data.train_dataloader()):
            raise _LiveError("the training ends within the first epoch")

    def _found_or_made(self, folder: Path) -> StoredOutputs:
        identity = identity_of_outputs(self.teacher, self.data.encoded["train"], self.trainer)
        identity["stored_in"] = self.settings["precision"]
        entry = folder / f"teacher-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]}"
        with only_one(folder, entry.name, waiting="Teacher's outputs: another process computes them."):
            found, how = self._open(entry), "found"
            if found is None:
                began = time.monotonic()
                self._make(entry, identity)
                how = f"computed in {time.monotonic() - began:,.0f} s,"
                found = StoredOutputs(entry, self.data.lengths("train"))
            mark_used(entry)
        _say(f"{found.rows:,} texts, {found.bytes / 1e6:,.1f} MB, {how} in {entry}")
        return found

    def _open(self, entry: Path) -> StoredOutputs | None:
        if not entry.exists():
            return None
        try:
            return StoredOutputs(entry, self.data.lengths("train"))
        except ValueError as error:
            print(f"note: {entry} is damaged ({error}); the teacher's outputs are computed anew.")
            return None

    def _make(self, entry: Path, identity: Mapping[str, Any]) -> None:
        said, lengths = self._said(), self.data.lengths("train")
        rows, first = next(said)
        layout = Layout.of(vars(first), per_token=self.data.task.outputs_per_token, dtype=self.settings["precision"])
        size, free = layout.bytes(lengths) / 1e9, shutil.disk_usage(entry.parent).free / 1e9
        if size > self.settings["gigabytes"]:
            raise _LiveError(f"its outputs take {size:.3g} GB, more than cache.gigabytes={self.settings['gigabytes']}")
        if size > free:
            raise _LiveError(f"its outputs take {size:.3g} GB, and {free:.3g} are free in {entry.parent}")
        _say(f"{len(lengths):,} texts, computed once for all epochs and runs.")
        told = {"task": self.data.task.name, "made_by": identity}
        try:
            save_folder(
                entry, lambda folder: write_outputs(folder, chain([(rows, first)], said), lengths, layout, **told)
            )
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise _LiveError(f"its outputs could not be written ({error})") from error

    def _said(self) -> Iterator[tuple[list[int], SimpleNamespace]]:
        """Rows of the training split and the outputs for them, those of the longest texts first."""
        device, task = self.trainer.strategy.root_device, self.data.task
        teacher, collate = self.teacher.to(device).eval(), task.collator(self.data.tokenizer)
        examples = self.data.encoded["train"].remove_columns("length")
        for rows in SortedBatches(self.data.lengths("train"), self.data.eval_batch_size):
            batch = {name: values.to(device) for name, values in collate(examples[rows]).items()}
            with self.trainer.precision_plugin.forward_context():
                outputs = outputs_by_length(teacher, task, batch)
            yield rows, outputs


def _say(what: str) -> None:
    if is_main_process():
        print(f"Teacher's outputs: {what}", flush=True)
