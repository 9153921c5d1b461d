import json
import math

import pytest

from winnow.data.json_rows import Literal, json_document, json_format, json_lines, native
from winnow.errors import UserError

ROWS = [{"text": "a"}, {"text": "b"}]


def document(text):
    return [row for _, row in json_document(text.splitlines(keepends=True), "in.json")]


def lines(text):
    return list(json_lines(text.splitlines(keepends=True), "in.jsonl"))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        '\n[{"text": "a"},\n {"text": "b"}]\n',
        '[\n{"text": "a"}\n,\n{"text": "b"}\n]',
        '{"text": "a"}\n{"text": "b"}',
        '{\n"text": "a"\n}\n{\n"text": "b"\n}\n',
        '{"version": 1.1, "data": [{"text": "a"}, {"text": "b"}]}',
        json.dumps({"data": ROWS, "version": "1"}, indent=1),
    ],
)
def test_a_json_file_may_have_any_usual_layout(text):
    assert document(text) == ROWS


def test_an_object_over_several_lines_is_one_row():
    assert document('{\n "text": "a"\n}\n') == [{"text": "a"}]
    assert document("[]") == []


def test_numbers_and_truth_values_are_the_text_that_is_written():
    ((_, row),) = lines('{"a": 3.10, "b": 1e3, "c": true, "d": [1.0, false, null], "e": {"f": 12345678901234567890}}\n')
    assert row == {
        "a": "3.10",
        "b": "1e3",
        "c": "true",
        "d": ["1.0", "false", None],
        "e": {"f": "12345678901234567890"},
    }
    assert native(row) == {"a": 3.1, "b": 1000.0, "c": True, "d": [1.0, False, None], "e": {"f": 12345678901234567890}}
    assert (native("3.10"), native(Literal("inf")), native(Literal("1e999"))) == ("3.10", "inf", "1e999")


def test_nan_is_a_missing_cell_and_infinity_a_text():
    ((_, row),) = lines(json.dumps({"a": math.nan, "b": -math.inf}))
    assert row == {"a": None, "b": "-Infinity"}


def test_a_row_is_known_by_its_line_or_number():
    assert [where for where, _ in lines('{"a": "1"}\n\n{"a": "2"}\n')] == ["line 1", "line 3"]
    assert [where for where, _ in json_document(['[{"a": "1"},\n', '{"a": "2"}]'], "in.json")] == ["row 1", "row 2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2", 'in.json, row 1 must be an object such as {"text": "..."}, got "1".'),
        ('[{"a": 1}, {"b" 2}]', "in.json, line 1, column 17 is not JSON (Expecting ':' delimiter)."),
        ('[\n{"a": 1},\n{"b": 2}', "in.json, line 3, column 9 is not JSON (Expecting ',' or ']')."),
        ('[{"a": 1}] x', "in.json, line 1, column 11 is not JSON (Extra data)."),
        ('{"a": 1}\n{"a": ', "in.json, line 2, column 6 is not JSON (Expecting value)."),
        (
            '{"a": 1},\n{"a": 2}',
            "in.json, line 1, column 9 is not JSON (Objects with commas between them need brackets around them).",
        ),
        ('"a"', 'in.json, row 1 must be an object such as {"text": "..."}, got "a".'),
        ('{"a": 1, "a": 2}', "in.json: an object has the key 'a' twice; rename or remove one of them."),
        ("[" * 100_000, "in.json: its values are nested too deeply."),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(text, message):
    with pytest.raises(UserError) as error:
        document(text)
    assert str(error.value) == message


def test_a_line_that_is_not_json_is_refused_with_its_number():
    with pytest.raises(UserError, match=r"in\.jsonl, line 2: an object has the key 'a' twice"):
        lines('{"a": 1}\n{"a": 1, "a": 2}\n')
    with pytest.raises(UserError, match=r"in\.jsonl, line 1 must be an object .*, got \[\"1\"\]"):
        lines("[1]\n")


@pytest.mark.parametrize("text", ['[{"a": 1}]\n', '[\n{"a": 1}\n]\n', '{\n"a": 1\n}\n'])
def test_a_json_file_that_is_named_json_lines_is_refused_with_the_remedy(text):
    with pytest.raises(
        UserError, match=r"in\.jsonl, line 1.*lists, and objects over several lines, have the format json"
    ):
        lines(text)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b'{"a": 1}\n{"a"', "jsonl"),
        (b'{"a": 1, "b', "jsonl"),
        (b'\xef\xbb\xbf[{"a": 1}, {"a', "json"),
        (b'[\n {"a": 1}\n', "json"),
        (b'{\r\n "a": 1', "json"),
        (b"[1] is a footnote\n", None),
        (b"{a} and {b}\n", None),
    ],
)
def test_the_format_of_a_stream_is_known_by_its_first_bytes(head, kind):
    assert json_format(head) == kind


def test_a_wrong_article_is_refused_with_its_line():
    with pytest.raises(UserError, match=r"in\.jsonl, line 1: question 1: expected"):
        lines('{"context": "c", "qas": [{"id": "1"}]}\n')
