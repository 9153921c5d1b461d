import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from winnow.data.places import PLACE
from winnow.errors import UserError
from winnow.tasks.question_ids import ID, _note, distinct_ids, with_ids


@pytest.fixture(autouse=True)
def no_note_was_printed_before():
    _note.cache_clear()


def ids_of(values, column="id", scored=True, **columns):
    split = Dataset.from_dict({"id": values, "text": ["x"] * len(values), **columns})
    return with_ids(split, "validation", column, scored=scored)[ID][:]


@pytest.mark.parametrize(
    ("ids", "distinct"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a", "b", "a"], ["a", "a#2", "b", "a#3"]),
        (["a", "a", "a#2", "a"], ["a", "a#3", "a#2", "a#4"]),
        (["a#2", "a", "a#2", "a"], ["a#2", "a", "a#2#2", "a#3"]),
        (["1", "01", "1.0"], ["1", "01", "1.0"]),
    ],
)
def test_repeated_ids_get_the_next_number_that_is_no_other_id(ids, distinct):
    assert distinct_ids(ids) == distinct


@given(st.lists(st.sampled_from(["a", "b", "a#2", "a#3", "a#2#2", "b#2"]), max_size=12))
def test_ids_become_distinct_and_the_first_of_each_stays(ids):
    distinct = distinct_ids(ids)
    assert len(set(distinct)) == len(ids)
    for i, (old, new) in enumerate(zip(ids, distinct, strict=True)):
        assert new.startswith(old)
        assert (new == old) == (old not in ids[:i])


def test_many_equal_ids_take_no_time_by_the_square_of_their_number():
    assert distinct_ids(["a"] * 200_000)[-1] == "a#200000"


def test_ids_are_texts():
    assert ids_of(["007", "1e3"]) == ["007", "1e3"]
    assert ids_of([7, 10**15]) == ["7", "1000000000000000"]
    assert ids_of([0.5, 2.0]) == ["0.5", "2.0"]


def test_without_a_column_the_ids_are_the_numbers_of_the_rows(capsys):
    assert ids_of(["a", "b"], column=None) == ["0", "1"]
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("values", "column"), [([None, None], "id"), (["", " "], "id"), (["a", "b"], "name")])
def test_where_no_row_has_an_id_they_are_numbered_with_a_note(values, column, capsys):
    assert ids_of(values, column, scored=False) == ["0", "1"]
    assert not capsys.readouterr().err
    assert ids_of(values, column) == ["0", "1"]
    note = f"note: no row of the validation split has an id in '{column}'; its ids are the row numbers, from 0.\n"
    assert capsys.readouterr().err == note


@pytest.mark.parametrize("missing", [None, "", " "])
def test_a_few_missing_ids_are_refused_with_the_place_of_the_first(missing):
    with pytest.raises(
        UserError, match=r"^a\.csv, line 3: the question has no id in column 'id'.*task\.data\.id_column=null"
    ):
        ids_of(["a", missing, missing], **{PLACE: ["a.csv, line 2", "a.csv, line 3", "a.csv, line 4"]})
    with pytest.raises(UserError, match=r"^the validation split, row 2: the question has no id"):
        ids_of(["a", missing])


def test_repeated_ids_are_noted_once_with_their_number_and_the_first_of_them(capsys):
    for _ in range(2):
        assert ids_of(["c", "d", "d", "c", "d"]) == ["c", "d", "d#2", "c#2", "d#3"]
    assert capsys.readouterr().err == (
        "note: 3 of 5 ids of the validation split repeat another one; predictions.json has the second 'd' "
        "(the validation split, row 3) as 'd#2'.\n"
    )


def test_ids_of_questions_that_are_not_scored_become_distinct_without_a_note(capsys):
    assert ids_of(["e", "e"], scored=False) == ["e", "e#2"]
    assert not capsys.readouterr().err
