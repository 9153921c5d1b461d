import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from tests.deployed import task_of, task_section
from winnow.deployment.rows import RowFormat, checked_rows
from winnow.errors import UserError


def row_format(family="text_classification", text_columns=None, data=None, **options):
    return RowFormat.of(task_of(task_section(family, data), []), text_columns, **options)


def checked(expected, *rows):
    located = ((f"line {i}", row) for i, row in enumerate(rows, start=1))
    return [row.kept | row.texts for row in checked_rows(located, expected)]


def refused(expected, *rows):
    with pytest.raises(UserError) as error:
        checked(expected, *rows)
    return str(error.value)


def test_a_text_is_in_the_column_of_training_or_in_one_with_its_own_name():
    expected = row_format(data={"text_columns": ["sentence"]})
    assert checked(expected, {"sentence": "a", "text": "b"}, {"text": "b"}, "c") == [
        {"text": "a"}, {"text": "b"}, {"text": "c"}
    ]  # fmt: skip


def test_given_columns_replace_the_default_ones():
    expected = row_format(text_columns=["body"])
    assert checked(expected, {"body": "a", "text": "b"}) == [{"text": "a"}]
    assert "there is no column 'body', only text; choose one with text_columns=NAME." in refused(
        expected, {"text": "b"}
    )
    with pytest.raises(UserError, match="text_columns must name 2 columns, for question and context; got body"):
        row_format("question_answering", text_columns=["body"])


def test_a_missing_column_is_refused_with_the_existing_ones_and_the_nearest():
    message = refused(row_format(data={"text_columns": ["sentence"]}), {"sentense": "a", "label": 1})
    assert message.startswith("line 1: there is no column 'sentence' or 'text', only sentense, label")
    assert message.endswith("Did you mean 'sentense'?")


def test_columns_to_keep_are_copied():
    assert checked(row_format(), {"text": "a", "id": 7, "other": 1}) == [{"id": 7, "text": "a"}]
    assert checked(row_format(keep=["other"]), {"text": "a", "id": 7, "other": 1}, {"text": "b"}) == [
        {"other": 1, "text": "a"},
        {"text": "b"},
    ]


def test_a_column_to_keep_that_the_first_row_lacks_is_refused_with_the_nearest():
    message = refused(row_format(keep=["id", "autor"]), {"text": "a", "author": 1})
    assert message == (
        "line 1: there is no column 'autor' to keep, only text, author; correct keep=. Did you mean 'author'?"
    )


def kept(expected, row):
    return [each.kept for each in checked_rows([("line 1", row)], expected)]


def test_all_columns_are_kept_with_those_of_the_texts_which_are_then_not_repeated():
    row = {"sentence": "a", "text": "b", "all": 1}
    everything = row_format(data={"text_columns": ["sentence"]}, keep=None)
    assert kept(everything, row) == [row]
    assert everything.repeated == ()
    assert kept(row_format(keep=["all"]), row) == [{"all": 1}]


def test_a_text_is_not_kept_under_the_name_under_which_it_is_repeated():
    assert kept(row_format(keep=["text"]), {"text": "a"}) == [{}]
    assert kept(row_format(text_columns=["body"], keep=["text", "body"]), {"text": "a", "body": "b"}) == [
        {"text": "a", "body": "b"}
    ]
    question = {"question": "who", "context": "Ann"}
    assert kept(row_format("question_answering", keep=["question", "context"]), question) == [{"context": "Ann"}]


@pytest.mark.parametrize(
    ("cell", "text"),
    [(7, "7"), (0.5, "0.5"), (True, "true"), (np.bool_(False), "false"), (np.float32(0.1), "0.1"), (np.int64(7), "7")],
)
def test_numbers_and_truth_values_become_texts(cell, text):
    assert checked(row_format(), {"text": cell}) == [{"text": text}]
    assert checked(row_format("token_classification"), {"tokens": ["a", cell]}) == [{"text": ["a", text]}]


MISSING = [None, math.nan, np.float32("nan"), Decimal("nan"), pd.NA, pd.NaT]


@pytest.mark.parametrize("empty", ["", "  \t", *MISSING])
def test_an_empty_text_is_refused_or_skipped(empty):
    assert refused(row_format(), {"text": "a"}, {"text": empty}) == (
        "line 2: text is empty; fill it, or skip such rows with drop_empty=true."
    )
    assert checked(row_format(drop_empty=True), {"text": empty}, {"text": "b"}) == [{"text": "b"}]


def test_an_empty_context_is_named():
    assert "line 1: context is empty" in refused(row_format("question_answering"), {"question": "who", "context": ""})


def test_a_list_of_words_is_accepted_for_tagging():
    tags = row_format("token_classification")
    assert checked(tags, {"tokens": ["in", "", 7]}, {"text": "in Rome"}) == [
        {"text": ["in", "", "7"]}, {"text": "in Rome"}
    ]  # fmt: skip
    assert "line 1: text is empty" in refused(tags, {"tokens": []})
    assert "line 1: text must be a text, got \"['in']\"" in refused(row_format(), {"text": ["in"]})
    assert "must be a text or a list of words, got" in refused(tags, {"tokens": {"a": 1}})


def test_a_printed_list_of_words_is_read_as_in_training():
    tags = row_format("token_classification")
    assert checked(tags, {"tokens": "['in', \"Rome's\"]"}, {"tokens": "[1] in Rome"}) == [
        {"text": ["in", "Rome's"]}, {"text": "[1] in Rome"}
    ]  # fmt: skip
    assert refused(tags, {"tokens": "['in' 'Rome']"}).startswith("line 1: text is no list as Python or JSON write it")
    assert checked(row_format(), {"text": "['in', 'Rome']"}) == [{"text": "['in', 'Rome']"}]


@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_word_is_refused_or_its_row_skipped(missing):
    rows = {"tokens": ["in", missing]}, {"tokens": ["Rome"]}
    assert refused(row_format("token_classification"), *rows) == (
        "line 1: text: word 2 is empty; fill it, or skip such rows with drop_empty=true."
    )
    assert checked(row_format("token_classification", drop_empty=True), *rows) == [{"text": ["Rome"]}]


def test_an_unpaired_surrogate_is_refused():
    assert "line 1: text is invalid text: unpaired surrogate" in refused(row_format(), {"text": "a\ud800"})
    for cell in ("a\ud800", ["a\ud800"], {"a": "\ud800"}):
        message = refused(row_format(keep=["other"]), {"text": "a", "other": cell})
        assert "line 1: other is invalid text: unpaired surrogate" in message
