import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval import metrics as seqeval
from seqeval.metrics.sequence_labeling import get_entities

from winnow.functional.counted_scores import counted_scores
from winnow.functional.entities import count_entities, entities, is_entity_tag, split_tag


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-PER I-PER O B-LOC", [("PER", 1, 2), ("LOC", 4, 4)]),
        ("O O", []),
        ("", []),
        ("B-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
        ("B-PER I-LOC I-LOC", [("PER", 0, 0), ("LOC", 1, 2)]),  # another type inside
        ("I-PER I-PER O I-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),  # IOB1, or a B that was forgotten
        ("I-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),  # IOB1: B parts neighbours
        ("B-PER I-PER E-PER S-PER O S-LOC", [("PER", 0, 2), ("PER", 3, 3), ("LOC", 5, 5)]),  # IOBES
        ("B-PER E-PER I-PER E-PER", [("PER", 0, 1), ("PER", 2, 3)]),  # nothing goes on after E
        ("S-PER I-PER", [("PER", 0, 0), ("PER", 1, 1)]),
        ("E-PER E-PER", [("PER", 0, 0), ("PER", 1, 1)]),
        ("B-PER I-PER L-PER U-PER B-PER L-PER", [("PER", 0, 2), ("PER", 3, 3), ("PER", 4, 5)]),  # BILOU
        ("B-creative-work I-creative-work I-work", [("creative-work", 0, 1), ("work", 2, 2)]),
        ("O B I O B", [("", 1, 2), ("", 4, 4)]),  # entities of one nameless type
    ],
)
def test_the_entities_of_a_sentence(tags, expected):
    assert entities(tags.split()) == expected


def test_an_entity_counts_where_type_start_and_end_are_right():
    predicted = ["B-PER I-PER O B-LOC", "B-PER O", "O B-LOC"]
    true = ["B-PER I-PER O B-PER", "B-PER I-PER", "O B-LOC"]
    counts = count_entities([p.split() for p in predicted], [t.split() for t in true])
    assert counts == (2, 4, 4)
    assert counted_scores(*counts) == {"f1": 0.5, "precision": 0.5, "recall": 0.5}


def test_the_same_place_in_another_sentence_is_another_entity():
    assert count_entities([["B-PER"], ["O"]], [["O"], ["B-PER"]]) == (0, 1, 1)


def test_f1_is_the_harmonic_mean():
    assert counted_scores(1, 2, 4) == {"f1": pytest.approx(2 * 0.5 * 0.25 / 0.75), "precision": 0.5, "recall": 0.25}


@pytest.mark.parametrize("counts", [(0, 0, 0), (0, 0, 3), (0, 3, 0)])
def test_without_entities_every_score_is_zero(counts):
    assert set(counted_scores(*counts).values()) == {0.0}


def test_sentences_that_were_not_predicted_are_no_silent_loss():
    with pytest.raises(ValueError, match="zip"):
        count_entities([["O"]], [["O"], ["B-PER"]])


TAGS = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC", "creative-work"))]


@st.composite
def tagged_twice(draw):
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    sentence = [st.lists(st.sampled_from(TAGS), min_size=n, max_size=n) for n in lengths]
    return draw(st.tuples(*sentence)), draw(st.tuples(*sentence))


@given(tagged_twice())
def test_precision_recall_and_f1_are_those_of_seqeval(both):
    true, predicted = map(list, both)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns where it divides by zero
        expected = {
            "f1": seqeval.f1_score(true, predicted),
            "precision": seqeval.precision_score(true, predicted),
            "recall": seqeval.recall_score(true, predicted),
        }
    assert counted_scores(*count_entities(predicted, true)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.sampled_from(TAGS), max_size=20))
def test_the_entities_are_those_of_seqeval(tags):
    assert entities(tags) == get_entities(tags)


@pytest.mark.parametrize("tag", ["O", "B-PER", "I-creative-work", "E-X", "S-X", "L-X", "U-X", "B", "I"])
def test_tags_of_the_usual_schemes_are_entity_tags(tag):
    assert is_entity_tag(tag)


@pytest.mark.parametrize("tag", ["NOUN", "7", "PER", "b-PER", "X-PER", "PER-B", "", "O-PER"])
def test_other_tags_are_none(tag):
    assert not is_entity_tag(tag)


def test_a_type_may_hold_a_hyphen():
    assert split_tag("B-creative-work") == ("B", "creative-work")
