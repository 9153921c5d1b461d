"""Exact match and F1 of an answer, as the official SQuAD scripts compute them (Rajpurkar et al. 2016, 2018)."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(answer: str) -> str:
    """Lower case, without ASCII punctuation, articles and repeated blanks."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, truth: str) -> float:
    """1.0 if both are the same once normalised, else 0.0."""
    return float(normalized(prediction) == normalized(truth))


def f1(prediction: str, truth: str, *, empty_matches: bool) -> float:
    """Harmonic mean of precision and recall over the words of two normalised answers, in [0, 1].

    Args:
        prediction: the predicted answer.
        truth: one of the correct answers.
        empty_matches: an answer without words is correct for a truth without words, as in SQuAD v2; the script of
            v1.1 gives 0.
    """
    predicted, true = normalized(prediction).split(), normalized(truth).split()
    if empty_matches and not (predicted and true):
        return float(predicted == true)
    common = sum((Counter(predicted) & Counter(true)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted), common / len(true)
    return 2 * precision * recall / (precision + recall)


def best_score(score: Callable[[str, str], float], prediction: str, truths: Sequence[str]) -> float:
    """The largest score over the correct answers."""
    return max(score(prediction, truth) for truth in truths)
