"""Metrics of answers: the windows of a question are collected, and its answer is scored at the end."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from winnow.functional.answers import best_score, exact_match, f1, normalized
from winnow.functional.candidates import best_candidates, given_answer, null_odds, probabilities

_STATES = ("example", "first_char", "last_char", "start_logit", "end_logit", "null_start", "null_end")


class AnswerMetrics(Metric):
    """Exact match and F1 in percent over the questions of one split.

    Args:
        split: has the columns id, context and answers, one row for each question.
        names: values to compute.
        n_best: number of answers kept for each question.
        unanswerable: True: some questions have no answer (SQuAD v2).
        null_score_diff_threshold: the prediction is "no answer" if its score exceeds the best answer's by more.
    """

    full_state_update = False

    def __init__(
        self,
        split: Dataset,
        *,
        names: Sequence[str],
        n_best: int,
        unanswerable: bool,
        null_score_diff_threshold: float,
    ) -> None:
        super().__init__()
        self.split = split
        self.names = list(names)
        self.n_best = n_best
        self.unanswerable = unanswerable
        self.threshold = null_score_diff_threshold
        for state in _STATES:
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, **windows: Tensor) -> None:
        """Collect the candidate answers of some windows.

        Args:
            windows: ``example``, the row of the question, ``null_start`` and ``null_end``, the scores of "no answer",
                ``(windows,)`` each; ``first_char`` and ``last_char`` (exclusive) in the context, ``start_logit`` and
                ``end_logit``, -inf for missing candidates, ``(windows, candidates)`` each.
        """
        for state in _STATES:
            values = windows[state]
            if values.ndim == 2:  # short windows have fewer candidates
                padding = -math.inf if values.is_floating_point() else 0
                values = torch.nn.functional.pad(values, (0, self.n_best - values.shape[1]), value=padding)
            getattr(self, state).append(values)

    def compute(self) -> dict[str, Tensor]:
        scores: dict[str, list[float]] = {"exact_match": [], "f1": []}
        answerable = []
        score_f1 = partial(f1, empty_matches=self.unanswerable)
        for row, candidates in self.candidates():
            prediction = self._prediction(candidates)
            truths = row["answers"]["text"]
            if self.unanswerable:  # the script of v2 drops answers that are empty once normalised
                truths = [text for text in truths if normalized(text)] or [""]
            scores["exact_match"].append(best_score(exact_match, prediction, truths))
            scores["f1"].append(best_score(score_f1, prediction, truths))
            answerable.append(bool(row["answers"]["text"]))
        values = {name: _percent(values) for name, values in scores.items()}
        for group, wanted in (("has_answer", True), ("no_answer", False)):
            for name, all_values in scores.items():
                chosen = [value for value, has in zip(all_values, answerable, strict=True) if has == wanted]
                values[f"{name}_{group}"] = _percent(chosen)
        return {name: torch.tensor(values[name], dtype=torch.float64) for name in self.names}

    def prediction_files(self) -> dict[str, Any]:
        """The files of the official scripts: answers, n best answers, and for v2 the odds of "no answer"."""
        answers, n_best, odds = {}, {}, {}
        for row, candidates in self.candidates():
            answers[row["id"]] = self._prediction(candidates)
            n_best[row["id"]] = [
                {**candidate, "probability": probability}
                for candidate, probability in zip(candidates, probabilities(candidates), strict=True)
            ]
            if self.unanswerable:
                odds[row["id"]] = null_odds(candidates)
        files = {"predictions.json": answers, "nbest_predictions.json": n_best}
        return files | ({"null_odds.json": odds} if self.unanswerable else {})

    def candidates(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Each question with collected windows, in the order of the split, and its candidates, best first."""
        states = {name: dim_zero_cat(getattr(self, name)).cpu().numpy() for name in _STATES}
        order = np.argsort(states["example"], kind="stable")
        states = {name: values[order] for name, values in states.items()}
        examples, begins = np.unique(states["example"], return_index=True)
        ends = np.append(begins[1:], len(order))
        rows = self.split.select(examples)
        for row, begin, end in zip(rows, begins, ends, strict=True):
            windows = {name: values[begin:end] for name, values in states.items()}
            candidates = best_candidates(row["context"], windows, n_best=self.n_best, unanswerable=self.unanswerable)
            yield row, candidates

    def _prediction(self, candidates: list[dict[str, Any]]) -> str:
        given = given_answer(candidates, self.threshold if self.unanswerable else None)
        return given["text"] if given else ""


def _percent(values: Sequence[float]) -> float:
    return 100.0 * sum(values) / len(values) if values else math.nan
