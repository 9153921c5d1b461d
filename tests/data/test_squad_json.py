import pytest

from winnow.data.squad_json import is_nested, question_rows
from winnow.errors import UserError

MILL = {"question": "what ?", "id": "a", "answers": [{"text": "mill", "answer_start": "8"}]}
WHO = {"question": "who ?", "id": "b", "answers": []}
PARAGRAPH = {"qas": [MILL, WHO], "context": "the old mill"}
ARTICLE = {"paragraphs": [PARAGRAPH], "title": "Mills"}
ROWS = [{"context": "the old mill", **MILL}, {"context": "the old mill", **WHO}]
TITLED = [{"title": "Mills", **row} for row in ROWS]


def rows(document):
    assert is_nested(document)
    return [cells for _, cells in question_rows(document)]


def places(document):
    return [place for place, _ in question_rows(document)]


@pytest.mark.parametrize(
    "document",
    [
        {"version": "v2.0", "data": [ARTICLE]},
        {"data": [ARTICLE], "version": None, "name": "mine"},
        [ARTICLE],
        [{"data": [ARTICLE]}],
        ARTICLE,
        {"data": TITLED},
    ],
)
def test_articles_are_found_in_every_layout(document):
    assert rows(document) == TITLED


@pytest.mark.parametrize("document", [PARAGRAPH, [PARAGRAPH], {"data": [PARAGRAPH]}, {"paragraphs": [PARAGRAPH]}])
def test_paragraphs_without_an_article_have_no_title(document):
    assert rows(document) == ROWS


def test_layouts_may_be_mixed():
    titled = {**PARAGRAPH, "title": "Barns"}
    mixed = {"data": [ARTICLE, ROWS[0], PARAGRAPH, {"paragraphs": [titled, PARAGRAPH], "title": "Mills"}]}
    barns = [{**row, "title": "Barns"} for row in ROWS]
    assert rows(mixed) == [*TITLED, ROWS[0], *ROWS, *barns, *TITLED]


def test_the_place_of_a_question_is_counted_from_one():
    two = {"paragraphs": [PARAGRAPH, PARAGRAPH]}
    assert places({"data": [ARTICLE, two]})[2:] == [
        f"article 2, paragraph {paragraph}, question {question}" for paragraph in (1, 2) for question in (1, 2)
    ]
    assert places(ARTICLE) == ["paragraph 1, question 1", "paragraph 1, question 2"]
    assert places(PARAGRAPH) == ["question 1", "question 2"]
    assert places({"data": ROWS}) == ["row 1", "row 2"]


def test_rows_of_any_task_under_data_are_not_changed():
    reviews = [{"text": "fine", "label": "pos", "paragraphs": None}, {"text": "dull", "label": "neg", "extra": ["1"]}]
    assert rows({"version": "1", "data": reviews}) == reviews


@pytest.mark.parametrize(
    "row",
    [
        {"text": "fine", "data": "2020-01-01", "paragraphs": "one\ntwo", "qas": "none"},
        {"text": "fine", "data": ["1", "2"], "paragraphs": ["one qas", "two"], "qas": ["what ?", None]},
        {"text": "fine", "data": [], "paragraphs": [], "qas": []},
        {"text": "fine", "data": None, "paragraphs": None, "qas": None},
        {"question": "?", "context": "x", "paragraphs": [{"context": "y"}], "data": [{"a": "1"}]},
        {"text": "fine", "paragraphs": [{"idx": "1", "text": "x"}]},
        {},
    ],
)
def test_a_flat_row_is_not_taken_for_an_article(row):
    assert not is_nested(row)
    assert not is_nested([row, row])
    assert [cells for _, cells in question_rows([row])] == [row]


@pytest.mark.parametrize("true", ["true", "True", "TRUE", "1"])
def test_an_impossible_question_has_no_answers_whatever_is_beside_it(true):
    question = {**MILL, "is_impossible": true, "plausible_answers": [{"text": "old", "answer_start": "4"}]}
    assert rows({**PARAGRAPH, "qas": [question]}) == [{**ROWS[0], "answers": []}]


@pytest.mark.parametrize("false", ["false", "0", None, ""])
def test_a_possible_question_keeps_its_answers(false):
    assert rows({**PARAGRAPH, "qas": [{**MILL, "is_impossible": false}]}) == ROWS[:1]


def test_a_question_may_have_another_id_or_none_and_no_answers():
    qas = [{"question": "a", "qid": "7"}, {"question": "b", "id": None, "qid": "8"}, {"question": "c", "id": None}]
    assert rows({"context": "x", "qas": qas}) == [
        {"context": "x", "question": "a", "id": "7"},
        {"context": "x", "question": "b", "id": "8"},
        {"context": "x", "question": "c"},
    ]


def test_an_empty_text_is_left_to_the_check_of_empty_rows():
    assert rows({"context": None, "qas": [{"question": None}]}) == [{"context": None, "question": None}]


def test_articles_and_paragraphs_may_be_empty():
    assert rows({"data": [ARTICLE, {"title": "x", "paragraphs": []}, {"context": "x", "qas": []}]}) == TITLED


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([ARTICLE, {"title": "x"}], r'article 2: expected an article with "paragraphs".*; got {"title": "x"}'),
        ([ARTICLE, {"paragraphs": "x"}], r'article 2: expected an article .*; got {"paragraphs": "x"}'),
        ([ARTICLE, None], "article 2: expected an article .*; got null"),
        ([PARAGRAPH, {"context": "x", "qas": "y"}], r'paragraph 2: expected a paragraph .*; got {"context": "x"'),
        ({"data": [{"text": "x"}, "y"]}, 'row 2: expected an object; got "y"'),
        ({"paragraphs": [PARAGRAPH, {"context": "x"}]}, 'paragraph 2: expected a paragraph with "context", a text'),
        ({"paragraphs": [PARAGRAPH, "x"]}, 'paragraph 2: expected a paragraph .*; got "x"'),
        ({"qas": [MILL]}, '^expected a paragraph with "context"'),
        ({"context": ["x"], "qas": [MILL]}, r'expected a paragraph .*; got {"context": \["x"\], "qas"'),
        ({"context": "x", "qas": [MILL, "?"]}, 'question 2: expected an object with "question", a text; got "\\?"'),
        ({"context": "x", "qas": [{"id": "a"}]}, 'question 1: expected an object with "question", .*got {"id": "a"}'),
        ({"context": "x", "qas": [{"question": ["?"]}]}, 'question 1: expected an object with "question"'),
        ([{"data": [ARTICLE, {"paragraphs": [{**PARAGRAPH, "qas": [MILL, {}]}]}]}],
         "document 1, article 2, paragraph 1, question 2: expected"),
    ],
)  # fmt: skip
def test_a_part_that_is_missing_or_of_the_wrong_shape_is_refused_with_its_place(document, message):
    with pytest.raises(UserError, match=message):
        list(question_rows(document))
