"""Join the rows of requests that wait for a thread, so that batches form under load and no request waits for others."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

Texts = Mapping[str, Any]  # of a row, by name
Prediction = dict[str, Any]

_CHARACTERS = 8000  # of a batch; a request with longer texts is a batch alone, and delays no short one in its batch


class FullError(Exception):
    """As many rows wait as may."""


@dataclass
class _Request:
    """The rows of a request.

    Args:
        rows: with their texts.
        characters: of all texts.
        predictions: one for each row, or an error.
    """

    rows: Sequence[Texts]
    characters: int
    predictions: "asyncio.Future[list[Prediction]]"


class Batcher:
    """Predict the rows of requests in threads, those of waiting requests in one batch, in the order of their arrival.

    Args:
        predict: returns the predictions of some rows; several threads call it at once.
        threads: that predict, each a batch.
        batch_size: rows in a batch; a larger request is a batch alone.
        max_waiting: rows that may wait.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Texts]], Iterable[Prediction]],
        *,
        threads: int,
        batch_size: int,
        max_waiting: int,
    ) -> None:
        self._predict = predict
        self._threads = ThreadPoolExecutor(threads)
        self._idle = threads
        self._batch_size = batch_size
        self._max_waiting = max_waiting
        self._requests: deque[_Request] = deque()

    @property
    def waiting(self) -> int:
        """The rows that no thread predicts yet."""
        return sum(len(request.rows) for request in self._requests)

    async def predictions(self, rows: Sequence[Texts]) -> list[Prediction]:
        """The prediction of each row.

        Raises:
            FullError: if too many rows wait.
            Exception: that predicting these rows alone raises.
        """
        if self.waiting + len(rows) > self._max_waiting:
            raise FullError
        characters = sum(len(text) for row in rows for text in row.values())
        request = _Request(rows, characters, asyncio.get_running_loop().create_future())
        self._requests.append(request)
        self._start_batches()
        return await request.predictions

    def _start_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while self._requests and self._idle:
            batch = self._next_batch()
            self._idle -= 1
            ended = loop.run_in_executor(self._threads, self._results, batch)
            ended.add_done_callback(partial(self._end_batch, batch))

    def _next_batch(self) -> list[_Request]:
        batch = [self._requests.popleft()]
        rows, characters = len(batch[0].rows), batch[0].characters
        while self._requests:
            rows += len(self._requests[0].rows)
            characters += self._requests[0].characters
            if rows > self._batch_size or characters > _CHARACTERS:
                break
            batch.append(self._requests.popleft())
        return batch

    def _results(self, batch: Sequence[_Request]) -> list[list[Prediction] | Exception]:
        """The predictions for each request; one that fails does so alone."""
        try:
            predictions = iter(list(self._predict([row for request in batch for row in request.rows])))
            return [[next(predictions) for _ in request.rows] for request in batch]
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [result for request in batch for result in self._results([request])]

    def _end_batch(
        self, batch: Sequence[_Request], ended: "asyncio.Future[list[list[Prediction] | Exception]]"
    ) -> None:
        self._idle += 1
        for request, result in zip(batch, ended.result(), strict=True):
            if request.predictions.done():  # the server has stopped waiting for it
                continue
            if isinstance(result, Exception):
                request.predictions.set_exception(result)
            else:
                request.predictions.set_result(result)
        self._start_batches()
