"""Answers put together from the windows of their questions, and scored when all windows have been seen."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from src.functional.answers import best_score, exact_match, f1, normalized

_STATES = ("example", "first_char", "last_char", "start_logit", "end_logit", "null_start", "null_end")


class AnswerMetrics(Metric):
    """Exact match and F1 in percent over the questions of one split.

    Args:
        split: with the columns id, context and answers, a row for each question.
        names: of the values to compute.
        n_best: answers kept for each question.
        unanswerable: some questions have no answer (SQuAD v2).
        null_score_diff_threshold: no answer is given where the score of none exceeds the best answer's by more.
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
        """Take in the candidates of some windows.

        Args:
            windows: ``example``, the row of the question, ``null_start`` and ``null_end``, the scores of no answer,
                each ``(windows,)``; ``first_char`` and ``last_char`` (exclusive) in the context, ``start_logit`` and
                ``end_logit``, each ``(windows, candidates)``, -inf for what is no candidate.
        """
        for state in _STATES:
            values = windows[state]
            if values.ndim == 2:  # short windows have fewer candidates
                fill = -math.inf if values.is_floating_point() else 0
                values = torch.nn.functional.pad(values, (0, self.n_best - values.shape[1]), value=fill)
            getattr(self, state).append(values)

    def compute(self) -> dict[str, Tensor]:
        scores: dict[str, list[float]] = {"exact_match": [], "f1": []}
        answerable = []
        score_f1 = partial(f1, empty_matches=self.unanswerable)
        for row, candidates in self._candidates():
            prediction = self._prediction(candidates)
            truths = row["answers"]["text"]
            if self.unanswerable:  # the script of v2 drops answers that say nothing
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

    def predictions(self) -> dict[str, Any]:
        """The files that the official scripts read, by name: answers, n best answers, and for v2 the odds of none."""
        answers, n_best, null_odds = {}, {}, {}
        for row, candidates in self._candidates():
            answers[row["id"]] = self._prediction(candidates)
            n_best[row["id"]] = _with_probabilities(candidates)
            if self.unanswerable:
                null_odds[row["id"]] = _null_odds(candidates)
        files = {"predictions.json": answers, "nbest_predictions.json": n_best}
        return files | ({"null_odds.json": null_odds} if self.unanswerable else {})

    def _prediction(self, candidates: list[dict[str, Any]]) -> str:
        if self.unanswerable and _null_odds(candidates) > self.threshold:
            return ""
        return next((c["text"] for c in candidates if c["text"]), "")

    def _candidates(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Each question that was seen, in the order of the split, with its candidates, the best first."""
        states = {name: dim_zero_cat(getattr(self, name)).cpu().numpy() for name in _STATES}
        order = np.argsort(states["example"], kind="stable")
        states = {name: values[order] for name, values in states.items()}
        examples, begins = np.unique(states["example"], return_index=True)
        ends = np.append(begins[1:], len(order))
        rows = self.split.select(examples)
        for row, begin, end in zip(rows, begins, ends, strict=True):
            yield row, self._best(row["context"], {name: values[begin:end] for name, values in states.items()})

    def _best(self, context: str, windows: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        total = (windows["start_logit"] + windows["end_logit"]).ravel()
        flat = {name: windows[name].ravel() for name in ("first_char", "last_char", "start_logit", "end_logit")}
        found: dict[tuple[int, int], dict[str, Any]] = {}  # windows overlap: the same words are one answer
        for i in np.argsort(-total, kind="stable"):
            span = (int(flat["first_char"][i]), whole_character(context, int(flat["last_char"][i])))
            if len(found) == self.n_best or total[i] == -math.inf:
                break
            found.setdefault(span, _candidate(context, span, flat["start_logit"][i], flat["end_logit"][i]))
        candidates = list(found.values())
        if self.unanswerable:
            weakest = np.argmin(windows["null_start"] + windows["null_end"])
            none = _candidate("", (0, 0), windows["null_start"][weakest], windows["null_end"][weakest])
            candidates = sorted([*candidates, none], key=_score, reverse=True)
        return candidates


def whole_character(text: str, end: int) -> int:
    """The end of a part of a text, moved behind accents that belong to its last letter; tokens may lack them."""
    while end < len(text) and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return end


def _candidate(context: str, span: tuple[int, int], start_logit: Any, end_logit: Any) -> dict[str, Any]:
    first, last = span
    return {
        "text": context[first:last],
        "start": first,
        "end": last,
        "start_logit": float(start_logit),
        "end_logit": float(end_logit),
    }


def _score(candidate: dict[str, Any]) -> float:
    return candidate["start_logit"] + candidate["end_logit"]


def _null_odds(candidates: list[dict[str, Any]]) -> float:
    """By how much the score of no answer exceeds that of the best answer."""
    none = next(_score(c) for c in candidates if not c["text"])
    return none - max((_score(c) for c in candidates if c["text"]), default=-math.inf)


def _with_probabilities(candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    scores = np.array([_score(c) for c in candidates], dtype=np.float64)
    weights = np.exp(scores - scores.max()) if len(scores) else scores
    return [{**c, "probability": float(w)} for c, w in zip(candidates, weights / weights.sum(), strict=True)]


def _percent(values: Sequence[float]) -> float:
    return 100.0 * sum(values) / len(values) if values else math.nan
