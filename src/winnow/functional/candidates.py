"""Answers from all windows of a context: the candidates, the best one, and no answer."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_MISSING = -1e4  # the score of the best answer where there is none; JSON has no infinity


def best_candidates(
    context: str, windows: Mapping[str, np.ndarray], *, n_best: int, unanswerable: bool
) -> list[dict[str, Any]]:
    """The best answers to a question, each with text, start, end (exclusive), start_logit and end_logit, best first.

    Args:
        context: of all windows; windows overlap, and a span that two of them contain is one answer.
        windows: ``first_char``, ``last_char`` (exclusive), ``start_logit`` and ``end_logit`` of the candidates, all of
            one shape, the logits -inf where there is no candidate; ``null_start`` and ``null_end``, the scores of no
            answer, one for each window.
        n_best: number of answers; there may be fewer.
        unanswerable: no answer, with an empty text, is a candidate too, with its lowest score over the windows.
    """
    total = (windows["start_logit"] + windows["end_logit"]).ravel()
    flat = {name: windows[name].ravel() for name in ("first_char", "last_char", "start_logit", "end_logit")}
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for i in np.argsort(-total, kind="stable"):
        span = (int(flat["first_char"][i]), whole_character(context, int(flat["last_char"][i])))
        if len(found) == n_best or total[i] == -math.inf:
            break
        found.setdefault(span, _candidate(context, span, flat["start_logit"][i], flat["end_logit"][i]))
    candidates = list(found.values())
    if unanswerable:
        weakest = np.argmin(windows["null_start"] + windows["null_end"])
        none = _candidate("", (0, 0), windows["null_start"][weakest], windows["null_end"][weakest])
        candidates = sorted([*candidates, none], key=_score, reverse=True)
    return candidates


def given_answer(candidates: Sequence[Mapping[str, Any]], threshold: float | None) -> Mapping[str, Any] | None:
    """The candidate to return as the answer; None if there is no candidate.

    Args:
        candidates: the best first.
        threshold: return no answer if its score exceeds the best answer's by more; None if all questions have one.
    """
    if threshold is not None and null_odds(candidates) > threshold:
        return next(c for c in candidates if not c["text"])
    return next((c for c in candidates if c["text"]), None)


def null_odds(candidates: Sequence[Mapping[str, Any]]) -> float:
    """The score of no answer minus the score of the best answer; a large number if there is no other candidate."""
    none = next(_score(c) for c in candidates if not c["text"])
    return none - max((_score(c) for c in candidates if c["text"]), default=_MISSING)


def probabilities(candidates: Sequence[Mapping[str, Any]]) -> list[float]:
    """The softmax over the scores of the candidates."""
    scores = np.array([_score(c) for c in candidates], dtype=np.float64)
    weights = np.exp(scores - scores.max()) if len(scores) else scores
    return [float(weight) for weight in weights / weights.sum()]


def whole_character(text: str, end: int) -> int:
    """The end of a span, moved behind accents that belong to its last letter; a token may end before them."""
    while end < len(text) and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return end


def without_last_marks(text: str) -> str:
    """A text without the accents of its last letter, which a token may leave out; see `whole_character`."""
    end = len(text)
    while end > 1 and unicodedata.category(text[end - 1]).startswith("M"):
        end -= 1
    return text[:end]


def _candidate(context: str, span: tuple[int, int], start_logit: Any, end_logit: Any) -> dict[str, Any]:
    first, last = span
    return {
        "text": context[first:last],
        "start": first,
        "end": last,
        "start_logit": float(start_logit),
        "end_logit": float(end_logit),
    }


def _score(candidate: Mapping[str, Any]) -> float:
    return float(candidate["start_logit"] + candidate["end_logit"])
