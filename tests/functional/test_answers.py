import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.text import squad

from winnow.functional.answers import best_score, exact_match, f1, normalized


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("The  Cat, o'er an U.S. hat!", "cat oer us hat"),
        ("a", ""),
        ("«Été» 1,000 km", "«été» 1000 km"),
        ("theatre another", "theatre another"),
    ],
)
def test_an_answer_is_compared_without_case_articles_and_punctuation(answer, words):
    assert normalized(answer) == words


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        ("the big red dog", "a big dog", 0.8),  # precision 2/3, recall 1
        ("dog dog cat", "dog", 0.5),  # a word counts as often as the truth has it: 1/3, 1
        ("cat", "dog", 0.0),
        ("Dog.", "dog", 1.0),
    ],
)
def test_f1_is_over_words(prediction, truth, expected):
    for empty_matches in (True, False):
        assert f1(prediction, truth, empty_matches=empty_matches) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "truth", "v1", "v2"), [("", "", 0.0, 1.0), ("the", "", 0.0, 1.0), ("", "dog", 0.0, 0.0)]
)
def test_an_answer_without_words_is_right_for_no_answer_in_v2_alone(prediction, truth, v1, v2):
    assert f1(prediction, truth, empty_matches=False) == v1
    assert f1(prediction, truth, empty_matches=True) == v2


def test_the_best_of_several_truths_counts():
    assert best_score(exact_match, "red dog", ["dog", "the red dog", "cat"]) == 1.0
    assert best_score(exact_match, "red dog", ["dog", "cat"]) == 0.0


ANSWERS = st.text(alphabet="abtheé, .-" + string.ascii_uppercase[:3], max_size=12)


@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=3))
def test_both_scores_are_those_of_torchmetrics(prediction, truths):
    theirs = squad(
        [{"prediction_text": prediction, "id": "1"}],
        [{"answers": {"answer_start": [0] * len(truths), "text": truths}, "id": "1"}],
    )
    ours_f1 = best_score(lambda p, t: f1(p, t, empty_matches=True), prediction, truths)
    assert float(theirs["exact_match"]) == 100 * best_score(exact_match, prediction, truths)
    assert float(theirs["f1"]) == pytest.approx(100 * ours_f1, abs=1e-4)
