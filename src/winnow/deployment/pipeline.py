"""Text in, labels, answers or entities out, from a deployment folder.

classify = open_pipeline("outputs/runs/.../deployment")
classify("a gripping, tender film")          # {"text": ..., "label": "positive", "score": 0.98}
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnow.data.padding import pad_batch
from winnow.deployment.engines import Engine, check_engine, open_engine
from winnow.deployment.folder import GRAPH, Deployment, read_deployment
from winnow.deployment.rows import Wanted, checked_rows
from winnow.errors import UserError
from winnow.ranges import check_range

_TOKENS = 2048  # of a batch whose size nobody asked for: more take memory, and are no faster on a CPU
_BATCHES_SORTED = 16  # texts of so many batches are sorted by length together
_CHARACTERS_SORTED = 1_000_000  # or fewer where they are long: their tokens are held in memory


def open_pipeline(
    folder: str | Path,
    engine: str = "onnxruntime",
    *,
    batch_size: int | None = None,
    threads: int | None = None,
    precision: str = "float32",
    top_k: int | None = None,
    split_punctuation: bool = False,
) -> "Pipeline":
    """The pipeline of a deployment folder, or of the run that has one.

    Args:
        folder: that ``python -m src.export`` made, or its run.
        engine: onnxruntime or openvino.
        batch_size: rows that run together; None means 32, fewer where they are long, or what the graph is fixed to.
        threads: of the engine; None leaves the choice to it.
        precision: float32, or auto for what the engine finds fastest, as `open_engine` has it.
        top_k: list so many of the best labels or answers too.
        split_punctuation: where words of a text are tagged, the signs at their edges are words of their own.

    Raises:
        UserError: for what is missing, damaged or unknown.
    """
    check_engine(engine, precision)
    for name, value in {"batch_size": batch_size, "threads": threads, "top_k": top_k}.items():
        if value is not None:
            check_range(name, value)
    deployment = read_deployment(Path(folder))
    if split_punctuation:
        if not deployment.task.accepts_word_lists:
            raise UserError(
                f"split_punctuation=true has no effect: {deployment.task.name} tags no words; leave it out."
            )
        deployment.task.split_punctuation = True
    return Pipeline(
        deployment,
        open_engine(engine, deployment.folder / GRAPH, threads, precision),
        batch_size=batch_size,
        top_k=top_k,
    )


class Pipeline:
    """A deployed model with what goes before it and after it.

    Args:
        deployment: whose task and tokenizer are used.
        engine: that runs its graph, or anything else with the same inputs and outputs.
        batch_size: rows that run together; None means 32, fewer where they are long, or what the graph is fixed to.
        top_k: list so many of the best labels or answers too.
    """

    def __init__(
        self, deployment: Deployment, engine: Engine, *, batch_size: int | None = None, top_k: int | None = None
    ) -> None:
        fixed = deployment.batch_size
        if fixed is not None and batch_size not in (None, fixed):
            raise UserError(f"batch_size={batch_size}: the graph was made for batches of {fixed}; leave it out.")
        if top_k is not None and not deployment.task.supports_top_k:
            raise UserError(f"top_k={top_k} has no effect: {deployment.task.name} ranks no answers; leave it out.")
        for kind in ("inputs", "outputs"):
            named, found = getattr(deployment, kind), getattr(engine, kind)
            if sorted(named) != sorted(found):
                raise UserError(
                    f"{deployment.folder}: the graph has the {kind} {', '.join(found)}, and config.json names "
                    f"{', '.join(named)}; export the run again."
                )
        self.deployment = deployment
        self.engine = engine
        self.batch_size = fixed or batch_size or 32
        self.most_tokens = sys.maxsize if fixed or batch_size else _TOKENS
        self.top_k = top_k
        self.wanted = Wanted.of(deployment.task)

    def __call__(self, rows: str | Mapping[str, Any] | Iterable[str | Mapping[str, Any]]) -> Any:
        """What the model says of a row, or a list of it for several rows.

        Args:
            rows: a text, or a mapping with the texts of a pair or of a question and its context; or several of them.
                Where words are tagged, a mapping may have a list of words as its text.
        """
        if isinstance(rows, (str, Mapping)):
            return next(self.stream([rows]))
        return list(self.stream(rows))

    def stream(self, rows: Iterable[str | Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """What the model says of each row, in their order, read and answered some batches at a time."""
        return self.answers(checked_rows(((f"row {i}", row) for i, row in enumerate(rows, start=1)), self.wanted))

    def answers(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """`stream` for rows that `checked_rows` has made."""
        for chunk in self._chunks(rows):
            yield from self._answered(chunk)

    def _chunks(self, rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
        """Rows that are sorted by length together; alone where batches are of one row, so that nobody waits."""
        most = self.batch_size * _BATCHES_SORTED if self.batch_size > 1 else 1
        chunk: list[dict[str, Any]] = []
        characters = 0
        try:
            for row in rows:
                chunk.append(row)
                characters += sum(len(row[name]) for name in self.wanted.columns)
                if len(chunk) == most or characters > _CHARACTERS_SORTED:
                    yield chunk
                    chunk, characters = [], 0
        except UserError:  # what came before the bad row is answered
            if chunk:
                yield chunk
            raise
        if chunk:
            yield chunk

    def _answered(self, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        task = self.deployment.task
        columns = dict(task.encode_inputs(rows, self.deployment.tokenizer))
        lengths = np.array(columns.pop("length"))
        readings: list[list[tuple[int, dict[str, np.ndarray]]]] = [[] for _ in rows]
        for windows in self._batches(lengths):
            batch = {name: [values[i] for i in windows] for name, values in columns.items()}
            read = self._read(batch)
            for place, window in enumerate(windows):
                row = columns["example"][window]
                readings[row].append((window, {name: values[place] for name, values in read.items()}))
        for row, windows_of_row in zip(rows, readings, strict=True):
            in_order = [window for _, window in sorted(windows_of_row, key=lambda pair: pair[0])]
            yield task.row_prediction(row, in_order, self.top_k)

    def _batches(self, lengths: np.ndarray) -> Iterator[np.ndarray]:
        """The places of the windows of each batch, longest first."""
        order = np.argsort(-lengths, kind="stable")
        while len(order):
            count = min(self.batch_size, max(1, self.most_tokens // lengths[order[0]]))
            yield order[:count]
            order = order[count:]

    def _read(self, batch: Mapping[str, Sequence]) -> dict[str, np.ndarray]:
        """The readings of one batch of windows; where the graph has a fixed shape, it is filled up to it."""
        task, count = self.deployment.task, len(batch["input_ids"])
        missing = (self.deployment.batch_size or count) - count
        filled = {name: [*values, *[values[-1]] * missing] for name, values in batch.items()}
        fill = task.padding_values(self.deployment.tokenizer)
        padded = pad_batch(filled, fill, multiple=self.deployment.sequence_length or 1)
        read = task.window_predictions(self._run(padded), padded)
        return {name: values[:count].numpy() for name, values in read.items()}

    def _run(self, batch: Mapping[str, Tensor]) -> Any:
        """The outputs of the graph under their names, as those of a model."""
        outputs = self.engine.run({name: batch[name].numpy() for name in self.deployment.inputs})
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise UserError(
                f"{self.deployment.folder / GRAPH} answers with what is no number; it may be damaged, or too narrow in "
                f"{self.deployment.precision}: export the run again."
            )
        return SimpleNamespace(**{name: torch.from_numpy(values) for name, values in outputs.items()})
