import datetime
import json
import math

import pytest
from datasets import Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.data.places import PLACE
from winnow.data.squad_json import is_nested, question_rows
from winnow.errors import UserError
from winnow.tasks.answer_columns import answers_of, check_answers, with_answer_lists

MILL = {"text": ["mill"], "answer_start": [8]}
BOTH = {"text": ["mill", "old"], "answer_start": [8, 4]}
NONE: dict[str, list] = {"text": [], "answer_start": []}
MAPPINGS = [{"text": "mill", "answer_start": "8"}, {"answer_start": "4", "extra": {"a": "b"}, "text": "old"}]


@pytest.mark.parametrize(
    ("cell", "answers"),
    [
        (BOTH, BOTH),
        ({"answer_start": ["8", "4.0"], "text": ["mill", "old"], "extra": None}, BOTH),
        (MAPPINGS, BOTH),
        (MAPPINGS[:1], MILL),
        (MAPPINGS[0], MILL),
        ({"text": ["mill"], "answer_start": 8.0}, MILL),
        ({"text": 1901, "answer_start": 24}, {"text": ["1901"], "answer_start": [24]}),
        ({"text": [datetime.date(2021, 3, 1)], "answer_start": [13]}, {"text": ["2021-03-01"], "answer_start": [13]}),
        ({"text": ["mill", ""], "answer_start": ["8", "-1"]}, MILL),
        ([*MAPPINGS[:1], {"text": None, "answer_start": None}, None], MILL),
        ({"text": " mill ", "answer_start": "7"}, {"text": [" mill "], "answer_start": [7]}),
    ],
)
def test_answers_are_read_in_every_form_and_as_its_text(cell, answers):
    assert answers_of(cell) == answers
    assert answers_of(repr(cell) if "datetime" not in repr(cell) else cell) == answers
    assert answers_of(json.dumps(cell, default=str)) == answers


@pytest.mark.parametrize(
    "cell",
    [
        *(None, "", "  ", [], {}, "[]", "null", "None", math.nan, [None]),
        *(NONE, {"text": None, "answer_start": None}, {"text": "", "answer_start": "-1"}, {"text": None}),
        *({"text": [None], "answer_start": [None]}, {"text": [""], "answer_start": ["x"]}, {"text": [" "]}),
        *([{"text": "", "answer_start": "-1"}], {"text": [], "answer_start": None}),
    ],
)
def test_a_missing_or_blank_text_is_no_answer(cell):
    assert answers_of(cell) == NONE


@pytest.mark.parametrize("start", ["8", "8.0", "8.", " 8 ", "008", 8, 8.0, ["8"], '["8"]', "[8.0]"])
def test_a_plain_text_has_its_position_in_another_cell(start):
    assert answers_of("mill", start) == MILL


@pytest.mark.parametrize(
    ("texts", "starts"), [(["mill", "old"], ["8", "4"]), ('["mill", "old"]', '["8", "4"]'), ("['mill', 'old']", [8, 4])]
)
def test_a_list_of_texts_has_a_list_of_positions_in_another_cell(texts, starts):
    assert answers_of(texts, starts) == BOTH


@pytest.mark.parametrize("text", ["[1]", "(a)", '{"text": "a"}', "null", "7"])
def test_beside_a_position_a_text_that_looks_like_json_is_a_text(text):
    assert answers_of(text, "3") == {"text": [text], "answer_start": [3]}


@pytest.mark.parametrize("start", [None, "", "x", -1, math.nan])
@pytest.mark.parametrize("text", [None, "", " ", []])
def test_without_a_text_any_position_is_no_answer(text, start):
    assert answers_of(text, start) == NONE


@pytest.mark.parametrize("start", ["21.5", "x", "-1", -1, "1e3", "٣", True, "1" * 30, math.inf, {"a": "b"}])
def test_a_position_that_is_no_whole_number_is_refused(start):
    with pytest.raises(ValueError, match=r"has the answer_start .* for the answer 'mill'; it must be the position of"):
        answers_of({"text": "mill", "answer_start": start})


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"text": ["mill"], "answer_start": [None]}, "has no answer_start for the answer 'mill'"),
        ({"text": "mill"}, "has no answer_start for the answer 'mill'"),
        ({"text": "mill", "answer_start": math.nan}, "has no answer_start for the answer 'mill'"),
        ({"text": ["mill", "old"], "answer_start": [8]}, "has 2 answers but 1 values of answer_start"),
        ({"answer": "mill", "start": 8}, 'must hold answers such as .*; "text" is missing beside answer, start'),
        ({"text": [["mill"]], "answer_start": [8]}, r"must hold answers such as .*, got the text \['mill'\]"),
        ("mill", r"must hold answers such as .*, got 'mill'; .* task\.data\.answer_start_column=COLUMN"),
        ("1901", "got '1901'"),
        ("Nonesuch", "got 'Nonesuch'"),
        (7, "got '7'"),
        (["mill"], r"got '\['mill'\]'"),
        ([["mill", 8]], "must hold answers such as"),
        ("{'text': array(['mill']), 'answer_start': array([8])}", r"array\(.* is neither in quotes .*write it as JSON"),
        ("['mill' 'old']", "a comma is missing before 'old'.*write it as JSON"),
    ],
)
def test_anything_else_is_refused_with_a_remedy(cell, message):
    with pytest.raises(ValueError, match=message):
        answers_of(cell)


@pytest.mark.parametrize(
    ("cell", "start", "message"),
    [
        ("mill", None, "has no answer_start for the answer 'mill'"),
        ("mill", "", "has no answer_start for the answer 'mill'"),
        (["mill", "old"], ["8"], "has 2 answers but 1 values of answer_start"),
        (MAPPINGS, ["8", "4"], r"has answers with their positions, .*; leave out task\.data\.answer_start_column"),
        (BOTH, None, "leave out"),
        ("['mill' 'old']", "[8, 4]", "a comma is missing"),
        ("mill", "[8", "it ends too early"),
    ],
)
def test_a_text_and_a_position_that_do_not_belong_together_are_refused(cell, start, message):
    with pytest.raises(ValueError, match=message):
        answers_of(cell, start)


def place(row):
    return f"train.csv, line {row + 2}"


def converted(cells, starts=None, **options):
    split = Dataset.from_dict({"context": ["the old mill"] * len(cells), "said": cells, "at": starts or cells})
    return with_answer_lists(split, "said", "at" if starts else None, place)["said"][:]


def test_the_column_of_answers_is_read_in_the_types_of_every_file_format():
    assert converted([BOTH, None, NONE]) == [BOTH, NONE, NONE]  # Parquet
    assert converted([[{"text": "mill", "answer_start": 8}], []]) == [MILL, NONE]
    assert converted([{"text": "mill", "answer_start": 8.0}, None]) == [MILL, NONE]
    assert converted([json.dumps(BOTH), repr(MAPPINGS), None, ""]) == [BOTH, BOTH, NONE, NONE]  # JSON, CSV
    assert converted(["mill", ""], ["8", None]) == [MILL, NONE]
    assert converted([["mill", "old"]], [["8", "4"]]) == [BOTH]
    assert converted([1901, None], [24.0, None]) == [{"text": ["1901"], "answer_start": [24]}, NONE]


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_answers_that_are_lists_already_are_not_written_again(dtype):
    features = Features({"said": {"text": List(Value("string")), "answer_start": List(Value(dtype))}})
    split = Dataset.from_dict({"said": [BOTH, NONE]}, features=features)
    assert with_answer_lists(split, "said", None, place) is split
    for cell in (None, {"text": [""], "answer_start": [-1]}, {"text": None, "answer_start": None}):
        mixed = Dataset.from_dict({"said": [BOTH, cell]}, features=features)
        assert with_answer_lists(mixed, "said", None, place)["said"][:] == [BOTH, NONE]


def test_a_bad_cell_is_refused_with_its_place_and_column():
    with pytest.raises(UserError, match=r"^train\.csv, line 1503: column 'said' has no answer_start for the answer"):
        converted([json.dumps(MILL)] * 1501 + ['{"text": "mill"}'])
    with pytest.raises(UserError, match=r"^train\.csv, line 3: column 'said' has the answer_start 21\.5 for"):
        converted(["mill", "mill"], ["8", "21.5"])
    with pytest.raises(UserError, match=r"^train\.csv, line 2: column 'said' has the answer_start -1 for"):
        converted([{"text": ["mill"], "answer_start": [-1]}])


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"text": ["mill"], "answer_start": [4]}, "answer_start 4 is wrong: the context has 'old ' there, not 'mill'"),
        ({"text": ["mill"], "answer_start": []}, "there are 1 answers but 0 values of answer_start"),
        (NONE, "the question has no answer"),
    ],
)
def test_answers_that_do_not_match_their_context_are_refused_with_the_line_of_the_file(answers, message):
    split = Dataset.from_dict(
        {"context": ["the old mill"] * 2, "answers": [MILL, answers], PLACE: ["a, line 2", "a, line 9"]}
    )
    with pytest.raises(UserError, match=f"^a, line 9: {message}"):
        check_answers(split, "train", unanswerable=False)
    with pytest.raises(UserError, match=f"^the train split, row 2: {message}"):
        check_answers(split.remove_columns(PLACE), "train", unanswerable=False)


# --- the same questions in every dialect ---

WORDS = st.lists(
    st.sampled_from(["mill", "1901", "2020-01-01", "true", "null", "1e5", "'a'", '"b"', "中", "é,"]),
    min_size=1,
    max_size=6,
)


@st.composite
def paragraphs(draw):
    """A context and its questions, each with an id or None and its answers."""
    words = draw(WORDS)
    context, questions = " ".join(words), []
    for _ in range(draw(st.integers(0, 3))):
        chosen = draw(st.lists(st.integers(0, len(words) - 1), max_size=2))
        answers = [(words[i], len(" ".join([*words[:i], ""]))) for i in chosen]
        questions.append((draw(st.sampled_from(["q1", "7", None])), draw(st.sampled_from(["what ?", "12"])), answers))
    return context, questions


def shuffled(draw, mapping):
    return dict(draw(st.permutations(list(mapping.items()))))


def written_start(draw, start):
    return draw(st.sampled_from([start, float(start), str(start), f" {start}.0"]))


def written_answers(draw, answers):
    """Answers in one of their dialects; None stands for an absent key."""
    pairs = [(text, written_start(draw, start)) for text, start in answers]
    if not pairs:
        return draw(
            st.sampled_from(
                [None, [], {}, NONE, [{"text": "", "answer_start": -1}], {"text": None, "answer_start": None}]
            )
        )
    mappings = [shuffled(draw, {"text": text, "answer_start": start, "extra": [1]}) for text, start in pairs]
    lists = {"text": [text for text, _ in pairs], "answer_start": [start for _, start in pairs]}
    forms = [mappings, lists, *(mappings if len(pairs) == 1 else [])]
    form = draw(st.sampled_from(forms))
    return draw(st.sampled_from([form, repr(form), json.dumps(form)]))  # as CSV keeps it


def written_question(draw, name, question, answers):
    row = {"question": question, "extra": None}
    if name is not None:
        row[draw(st.sampled_from(["id", "qid"]))] = draw(st.sampled_from([name, int(name)])) if name == "7" else name
    written = written_answers(draw, answers)
    if not answers and draw(st.booleans()):
        row |= {"is_impossible": True, "plausible_answers": [{"text": "x", "answer_start": 0}], "answers": "x"}
    elif written is not None:
        row["answers"] = written
    return shuffled(draw, row)


def read(text):
    """A JSON value with texts and None as its leaves."""

    def as_text(value):
        if isinstance(value, bool):
            return str(value).lower()
        return [as_text(item) for item in value] if isinstance(value, list) else value

    return json.loads(
        text, parse_int=str, parse_float=str, object_pairs_hook=lambda pairs: {k: as_text(v) for k, v in pairs}
    )


@settings(max_examples=150)
@given(st.lists(st.lists(paragraphs(), min_size=1, max_size=2), min_size=1, max_size=2), st.data())
def test_the_same_questions_in_any_dialect_of_squad_are_the_same_rows(articles, data):
    draw = data.draw
    written = []
    for article in articles:
        parts = [
            shuffled(draw, {"context": context, "qas": [written_question(draw, *each) for each in questions]})
            for context, questions in article
        ]
        written += draw(st.sampled_from([[{"paragraphs": parts}], parts]))
    document = draw(st.sampled_from([written, {"version": 1.1, "data": written}, {"data": written, "name": "mine"}]))
    document = read(json.dumps(document))
    assert is_nested(document)
    found = [
        (row["context"], row.get("id"), row["question"], answers_of(row.get("answers")))
        for _, row in question_rows(document)
    ]
    assert found == [
        (
            context,
            name,
            question,
            {"text": [text for text, _ in answers], "answer_start": [start for _, start in answers]},
        )
        for article in articles
        for context, questions in article
        for name, question, answers in questions
    ]
