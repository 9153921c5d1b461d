import math

import numpy as np
import pytest

from winnow.functional.candidates import (
    best_candidates,
    given_answer,
    null_odds,
    probabilities,
    whole_character,
    without_last_marks,
)

CONTEXT = "the old mill burned"


def windows_of(*windows, null=(0.0, 0.0)):
    """Each window as (first character, end, start score, end score) of its candidates."""
    names = ("first_char", "last_char", "start_logit", "end_logit")
    columns = {name: np.array([[c[i] for c in window] for window in windows]) for i, name in enumerate(names)}
    return columns | {"null_start": np.full(len(windows), null[0]), "null_end": np.full(len(windows), null[1])}


def test_the_same_words_in_two_windows_are_one_answer_with_the_better_score():
    found = windows_of([(4, 7, 1.0, 1.0), (8, 12, 0.5, 0.0)], [(4, 7, 2.0, 1.0), (0, 3, -math.inf, 0.0)])
    best = best_candidates(CONTEXT, found, n_best=5, unanswerable=False)
    assert [(c["text"], c["start_logit"] + c["end_logit"]) for c in best] == [("old", 3.0), ("mill", 0.5)]


def test_no_answer_is_a_candidate_by_the_window_that_believes_in_it_least():
    found = windows_of([(4, 7, 1.0, 1.0)], [(8, 12, 0.0, 0.0)]) | {"null_start": np.array([5.0, 1.0])}
    best = best_candidates(CONTEXT, found, n_best=5, unanswerable=True)
    assert [(c["text"], c["start_logit"] + c["end_logit"]) for c in best] == [("old", 2.0), ("", 1.0), ("mill", 0.0)]
    assert null_odds(best) == -1.0


@pytest.mark.parametrize(("threshold", "text"), [(None, "old"), (0.0, "old"), (-1.0, "old"), (-1.5, "")])
def test_no_answer_is_given_where_its_score_exceeds_the_best_by_more_than_the_threshold(threshold, text):
    found = windows_of([(4, 7, 1.0, 1.0)], null=(0.5, 0.5))
    best = best_candidates(CONTEXT, found, n_best=5, unanswerable=True)
    assert given_answer(best, threshold)["text"] == text


def test_without_a_candidate_there_is_no_answer():
    found = windows_of([(0, 0, -math.inf, -math.inf)])
    best = best_candidates(CONTEXT, found, n_best=5, unanswerable=False)
    assert (best, given_answer(best, None), probabilities(best)) == ([], None, [])


def test_the_odds_of_no_answer_are_finite_without_another_candidate():
    found = windows_of([(0, 0, -math.inf, -math.inf)], null=(-3.0, -3.0))
    best = best_candidates(CONTEXT, found, n_best=5, unanswerable=True)
    assert given_answer(best, threshold=9.0)["text"] == ""
    assert 1000 < null_odds(best) < math.inf


def test_probabilities_are_the_softmax_of_the_scores():
    found = windows_of([(4, 7, math.log(3), 0.0), (8, 12, 0.0, 0.0)])
    assert probabilities(best_candidates(CONTEXT, found, n_best=5, unanswerable=False)) == pytest.approx([0.75, 0.25])


def test_an_answer_ends_behind_the_accents_of_its_last_letter():
    assert whole_character("cafe\u0301\u0302s", 4) == 6
    assert whole_character("cafes", 4) == 4
    assert whole_character("cafe\u0301", 4) == 5


@pytest.mark.parametrize(
    ("text", "stripped"), [("cafe\u0301", "cafe"), ("e\u0301\u0327", "e"), ("café", "café"), ("\u0301", "\u0301")]
)
def test_the_accents_of_the_last_letter_are_left_out(text, stripped):
    assert without_last_marks(text) == stripped
