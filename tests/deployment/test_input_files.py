import io
import itertools
import sys

import pytest
from datasets import Dataset

from winnow.data.reader import Layout
from winnow.deployment.input_files import check_format, read_rows
from winnow.errors import UserError

ONE, TWO = ("text",), ("question", "context")


def read(path, content, kind="", asked=ONE):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row for _, row in read_rows(str(path), Layout(kind), asked)]


def refused(path, content, kind="", asked=ONE):
    with pytest.raises(UserError) as error:
        read(path, content, kind, asked)
    return str(error.value).replace(f"{path.parent}/", "")


def piped(monkeypatch, content, kind="", asked=ONE):
    stream = io.BufferedReader(io.BytesIO(content.encode()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
    return [row for _, row in read_rows("-", Layout(kind), asked)]


def texts(rows):
    return [row["text"] for row in rows]


def test_a_line_of_text_is_a_row(tmp_path):
    lines = 'a, "b"\r\n  {c}\u2028d \n\nlast'  # only a line feed ends a line
    assert texts(read(tmp_path / "in.txt", lines)) == ['a, "b"', "  {c}\u2028d ", "", "last"]


def test_a_byte_order_mark_is_not_text(tmp_path):
    assert texts(read(tmp_path / "in.txt", b"\xef\xbb\xbfa\n")) == ["a"]
    assert read(tmp_path / "in.csv", b"\xef\xbb\xbftext\na\n") == [{"text": "a"}]


def test_a_cell_may_contain_lines_commas_and_quotes(tmp_path):
    table = 'text,id\r\n"a, ""b""\nc",1\r\n\r\nd,2\r\n'
    assert list(read_rows(str(written(tmp_path / "in.csv", table)), Layout(""), ONE)) == [
        (f"{tmp_path}/in.csv, line 2", {"text": 'a, "b"\nc', "id": "1"}),
        (f"{tmp_path}/in.csv, line 5", {"text": "d", "id": "2"}),
    ]


def written(path, content):
    path.write_bytes(content.encode())
    return path


def test_cells_of_a_tsv_file_are_separated_by_tabs(tmp_path):
    assert read(tmp_path / "in.tsv", "text\tid\na, b\t1\n") == [{"text": "a, b", "id": "1"}]


def test_a_line_of_json_is_a_row_and_blank_lines_are_skipped(tmp_path):
    assert read(tmp_path / "in.jsonl", '{"text": "a"}\n\n{"text": ["b"]}\n') == [{"text": "a"}, {"text": ["b"]}]


def test_standard_input_is_text_or_json_lines(monkeypatch):
    assert texts(piped(monkeypatch, "a\n{b}\n")) == ["a", "{b}"]
    assert piped(monkeypatch, '{"text": "a"}\n') == [{"text": "a"}]
    assert piped(monkeypatch, '{"text": "a"}\n', kind="text") == [{"text": '{"text": "a"}'}]
    assert piped(monkeypatch, '{"question": "a", "context": "b"}\n', asked=TWO) == [{"question": "a", "context": "b"}]
    assert piped(monkeypatch, "text\na\n", kind="csv") == [{"text": "a"}]


def test_standard_input_without_an_end_is_read_line_by_line(monkeypatch):
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            buffer[:2] = b"a\n"
            return 2

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
    assert texts(row for _, row in itertools.islice(read_rows("-", Layout(""), ONE), 3)) == ["a", "a", "a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.txt", b"", "in.txt is empty"),
        (
            "in.txt",
            b"a\ncaf\xe9\n",
            "in.txt, line 2 is not UTF-8; name the encoding of the file, such as encoding=latin-1",
        ),
        ("in.txt", "a".encode("utf-16-le"), "in.txt has zero bytes, as UTF-16 without a byte order mark has"),
        ("in.csv", b"text\n", "in.csv has no rows."),
        ("in.json", b"[]", "in.json has no rows."),
        ("in.csv", b"text\ncaf\xe9\n", "in.csv, line 2 is not UTF-8"),
        ("in.csv", b"text,id\na,1\nb\n", "in.csv, line 3 has 1 cell, but there are 2 columns"),
        ("in.csv", b'text\n"a\nb\n', "in.csv, line 2: the row that begins here cannot be read"),
        ("in.jsonl", b'{"text": "a"}\n{"text": \n', "in.jsonl, line 2, column 9 is not JSON (Expecting value)"),
        ("in.jsonl", b'["a"]\n', 'in.jsonl, line 1 must be an object such as {"text": "..."}, got ["a"]'),
        ("in.xlsx", b"a O\n", "file=in.xlsx: the suffix is none of .csv, .tsv, .json, .jsonl, .ndjson, .parquet, "),
    ],
)
def test_a_bad_file_is_refused_with_the_line(tmp_path, name, content, message):
    assert refused(tmp_path / name, content).startswith(message)


def test_lines_of_text_cannot_contain_two_texts(tmp_path):
    message = refused(tmp_path / "in.txt", "a\n", asked=TWO)
    assert message == "in.txt: a line of text cannot contain question and context; use CSV or JSON lines."


def test_a_missing_file_is_refused_with_the_nearest_name(tmp_path):
    written(tmp_path / "queries.txt", "a\n")
    with pytest.raises(UserError, match=r"there is no such file. Did you mean 'queries.txt'"):
        next(read_rows(str(tmp_path / "querys.txt"), Layout(""), ONE))


def test_an_unknown_format_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match=r"format=jsnl: choose one of csv, .*text, conll. Did you mean 'jsonl'"):
        check_format("jsnl")


def test_what_training_reads_is_read(tmp_path):
    assert read(tmp_path / "a.json", '[{"text": "a"},\n {"text": "b"}]') == [{"text": "a"}, {"text": "b"}]
    assert read(tmp_path / "a.conll", "in\tO\nRome\tB-LOC\n") == [{"text": ["in", "Rome"], "tags": ["O", "B-LOC"]}]
    assert read(tmp_path / "words.conll", "in\nRome\n\n-\n") == [{"text": ["in", "Rome"]}, {"text": ["-"]}]
    Dataset.from_dict({"text": ["a"], "id": [7]}).to_parquet(tmp_path / "a.PARQUET")
    assert [row for _, row in read_rows(str(tmp_path / "a.PARQUET"), Layout(""), ONE)] == [{"text": "a", "id": "7"}]
    squad = '{"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "1", "question": "q", "answers": []}]}]}]}'
    assert read(tmp_path / "a.json", squad, asked=TWO) == [{"context": "c", "question": "q", "id": "1", "answers": []}]


def test_parquet_cannot_be_piped(monkeypatch):
    with pytest.raises(UserError, match="standard input: parquet cannot be read as a stream; name a file"):
        piped(monkeypatch, "PAR1", kind="parquet")
