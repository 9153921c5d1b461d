import pytest

from tests.deployed import task_of, task_section
from winnow.deployment.rows import Wanted, checked_rows
from winnow.errors import UserError


def wanted(family="text_classification", text_columns=None, data=None, **options):
    return Wanted.of(task_of(task_section(family, data), []), text_columns, **options)


def checked(wanted, *rows):
    return list(checked_rows(((f"line {i}", row) for i, row in enumerate(rows, start=1)), wanted))


def refused(wanted, *rows):
    with pytest.raises(UserError) as error:
        checked(wanted, *rows)
    return str(error.value)


def test_a_text_stands_in_the_column_of_the_training_or_under_its_own_name():
    ours = wanted(data={"text_columns": ["sentence"]})
    assert checked(ours, {"sentence": "a", "text": "b"}, {"text": "b"}, "c") == [
        {"text": "a"}, {"text": "b"}, {"text": "c"}
    ]  # fmt: skip


def test_columns_that_are_named_are_the_only_ones():
    ours = wanted(text_columns=["body"])
    assert checked(ours, {"body": "a", "text": "b"}) == [{"text": "a"}]
    assert "there is no 'body', only text; say text_columns=NAME." in refused(ours, {"text": "b"})
    with pytest.raises(UserError, match="text_columns must name 2 for question and context, got body"):
        wanted("question_answering", text_columns=["body"])


def test_a_missing_column_is_answered_with_those_there_are_and_the_nearest():
    message = refused(wanted(data={"text_columns": ["sentence"]}), {"sentense": "a", "label": 1})
    assert message.startswith("line 1: there is no 'sentence' or 'text', only sentense, label")
    assert message.endswith("Did you mean 'sentense'?")


def test_what_names_a_row_is_kept():
    assert checked(wanted(), {"text": "a", "id": 7, "other": 1}) == [{"id": 7, "text": "a"}]
    assert checked(wanted(keep=["other", "none"]), {"text": "a", "id": 7, "other": 1}) == [{"other": 1, "text": "a"}]


def test_numbers_are_texts():
    assert checked(wanted(), {"text": 7}, {"text": 0.5}) == [{"text": "7"}, {"text": "0.5"}]


@pytest.mark.parametrize("empty", ["", "  \t", None])
def test_an_empty_text_is_refused_or_left_out(empty):
    assert refused(wanted(), {"text": "a"}, {"text": empty}) == (
        "line 2: text is empty; fill it, or leave such rows out with drop_empty=true."
    )
    assert checked(wanted(drop_empty=True), {"text": empty}, {"text": "b"}) == [{"text": "b"}]


def test_an_empty_context_is_named():
    assert "line 1: context is empty" in refused(wanted("question_answering"), {"question": "who", "context": ""})


def test_words_may_come_as_a_list_where_they_are_tagged():
    tags = wanted("token_classification")
    assert checked(tags, {"tokens": ["in", None, 7]}, {"text": "in Rome"}) == [
        {"text": ["in", "", "7"]}, {"text": "in Rome"}
    ]  # fmt: skip
    assert "line 1: text is empty" in refused(tags, {"tokens": []})
    assert "line 1: text must be a text, got \"['in']\"" in refused(wanted(), {"text": ["in"]})
    assert "must be a text or a list of words, got" in refused(tags, {"tokens": {"a": 1}})


def test_half_a_character_is_refused():
    assert "line 1: text has half a character" in refused(wanted(), {"text": "a\ud800"})
