"""Pipelines from text to labels, answers or entities, for a deployment folder.

classify = winnow.open_pipeline("outputs/runs/.../deployment")
classify("a gripping, tender film")          # {"text": ..., "label": "positive", "score": 0.98}
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from winnow.data.batch import Arrays
from winnow.data.padding import pad_arrays
from winnow.deployment.choice import open_deployed
from winnow.deployment.engines import AUTO, CHOICES, Engine, check_deployed, check_engine
from winnow.deployment.folder import Deployment, read_deployment
from winnow.deployment.kept_columns import KeptColumns
from winnow.deployment.rows import CheckedRow, RowFormat, checked_rows
from winnow.errors import UserError
from winnow.values import Count, check_value

_TOKENS = 2048  # of a batch without a given size: more tokens need more memory and are not faster on a CPU
_BATCHES_SORTED = 16  # batches whose texts are sorted by length together
_CHARACTERS_SORTED = 1_000_000  # limit of texts sorted together, whose tokens are in memory


def open_pipeline(
    folder: str | Path,
    engine: str = AUTO,
    *,
    batch_size: int | None = None,
    threads: int | None = None,
    precision: str = "float32",
    top_k: int | None = None,
    split_punctuation: bool | None = None,
) -> "Pipeline":
    """The pipeline of a deployment folder, or of the run that has one.

    Args:
        folder: from ``winnow export``, or its run.
        engine: onnxruntime, openvino or sparse; auto: sparse or onnxruntime, as `open_deployed` chooses.
        batch_size: rows in a batch; None means the fixed size of the graph, else 32, or fewer for long texts.
        threads: of the engine; None leaves the choice to it.
        precision: float32, or auto for the choice of the engine, as in `open_engine`.
        top_k: also list this many of the best labels or answers.
        split_punctuation: in tasks that tag words, split punctuation from the words of a text; None: yes.

    Raises:
        UserError: for anything missing, damaged or unknown.
    """
    check_engine(engine, precision, CHOICES)
    for name, value in {"batch_size": batch_size, "threads": threads, "top_k": top_k}.items():
        if value is not None:
            check_value(name, Count, value)
    deployment = read_deployment(Path(folder))
    check_deployed(deployment.folder, engine)
    if split_punctuation is not None:
        if not deployment.task.accepts_word_lists:
            given = f"split_punctuation={str(split_punctuation).lower()}"
            raise UserError(f"{given} has no effect: {deployment.task.name} does not tag words; leave it out.")
        deployment.task.split_punctuation = split_punctuation
    return Pipeline(
        deployment,
        open_deployed(deployment.folder, engine, threads, precision),
        batch_size=batch_size,
        top_k=top_k,
    )


class Pipeline:
    """A deployed model with tokenization before it and decoding after it.

    Args:
        deployment: with the task and the tokenizer.
        engine: with its graph, or any other engine with the same inputs and outputs.
        batch_size: as in `open_pipeline`.
        top_k: as in `open_pipeline`.
    """

    def __init__(
        self, deployment: Deployment, engine: Engine, *, batch_size: int | None = None, top_k: int | None = None
    ) -> None:
        fixed = deployment.batch_size
        if fixed is not None and batch_size not in (None, fixed):
            raise UserError(f"batch_size={batch_size}: the graph has a fixed batch size of {fixed}; leave it out.")
        if top_k is not None and not deployment.task.supports_top_k:
            raise UserError(f"top_k={top_k} has no effect: {deployment.task.name} ranks no answers; leave it out.")
        for kind in ("inputs", "outputs"):
            configured, found = getattr(deployment, kind), getattr(engine, kind)
            if sorted(configured) != sorted(found):
                raise UserError(
                    f"{deployment.folder}: the graph has the {kind} {', '.join(found)}, but config.json names "
                    f"{', '.join(configured)}; export the run again."
                )
        self.deployment = deployment
        self.engine = engine
        self.batch_size = fixed or batch_size or 32
        self.max_tokens = sys.maxsize if fixed or batch_size else _TOKENS
        self.top_k = top_k
        self.row_format = RowFormat.of(deployment.task)

    def __call__(self, rows: str | Mapping[str, Any] | Iterable[str | Mapping[str, Any]]) -> Any:
        """The answer for a row, or a list of answers for several rows.

        Args:
            rows: a text, or a mapping with the texts of a pair or of a question and its context; or several of these.
                In tasks that tag words, the text of a mapping may be a list of words.
        """
        if isinstance(rows, (str, Mapping)):
            return next(self.stream([rows]))
        return list(self.stream(rows))

    def stream(self, rows: Iterable[str | Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """The answer for each row, in order; rows are read a few batches at a time."""
        return self.answers(((f"row {i}", row) for i, row in enumerate(rows, start=1)), self.row_format)

    def answers(self, rows: Iterable[tuple[str, Any]], row_format: RowFormat) -> Iterator[dict[str, Any]]:
        """The answer for each row: its kept columns, its texts and the prediction.

        Args:
            rows: as in `checked_rows`.
            row_format: of all rows.
        """
        columns = KeptColumns(self.example_answer(row_format))
        for chunk in self._chunks(checked_rows(rows, row_format)):
            for row, prediction in zip(chunk, self.predictions([row.texts for row in chunk]), strict=True):
                texts = {name: row.texts[name] for name in row_format.repeated}
                yield {**columns.renamed(row.kept), **texts, **prediction}

    def example_answer(self, row_format: RowFormat) -> dict[str, Any]:
        """An answer with every field, but without kept columns; see `Task.example_prediction`."""
        texts = dict.fromkeys(row_format.repeated)  # a text or a list of words
        return {**texts, **self.deployment.task.example_prediction(self.top_k)}

    def _chunks(self, rows: Iterable[CheckedRow]) -> Iterator[list[CheckedRow]]:
        """Rows to sort by length together; with batches of one row each row is a chunk and is predicted at once."""
        limit = self.batch_size * _BATCHES_SORTED if self.batch_size > 1 else 1
        chunk: list[CheckedRow] = []
        characters = 0
        try:
            for row in rows:
                chunk.append(row)
                characters += sum(map(len, row.texts.values()))
                if len(chunk) == limit or characters > _CHARACTERS_SORTED:
                    yield chunk
                    chunk, characters = [], 0
        except UserError:  # rows before the invalid one are predicted
            if chunk:
                yield chunk
            raise
        if chunk:
            yield chunk

    def predictions(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """The prediction for each row, which has its texts by name; several threads may call it at once."""
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
        """The indices of the windows of each batch, longest first."""
        order = np.argsort(-lengths, kind="stable")
        while len(order):
            count = min(self.batch_size, max(1, self.max_tokens // lengths[order[0]]))
            yield order[:count]
            order = order[count:]

    def _read(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
        """The readings of one batch of windows, which is filled up to a fixed batch size of the graph."""
        task, count = self.deployment.task, len(batch["input_ids"])
        missing = (self.deployment.batch_size or count) - count
        filled = {name: [*values, *[values[-1]] * missing] for name, values in batch.items()}
        fill = task.padding_values(self.deployment.tokenizer)
        padded = pad_arrays(filled, fill, multiple=self.deployment.sequence_length or 1)
        read = task.window_predictions(self._run(padded), padded)
        return {name: values[:count] for name, values in read.items()}

    def _run(self, batch: Arrays) -> Arrays:
        """The outputs of the graph by name."""
        outputs = self.engine.run({name: batch[name] for name in self.deployment.inputs})
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise UserError(
                f"the graph in {self.deployment.folder} returned NaN or infinity; it may be damaged, or overflow in "
                f"{self.deployment.precision}: export the run again, in another precision if that helps."
            )
        return outputs
