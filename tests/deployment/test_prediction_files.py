import csv
import datetime
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.deployment import prediction_files
from winnow.deployment.prediction_files import check_output, json_line, write_predictions
from winnow.errors import UserError

EXAMPLE = {"label": "a", "score": 1.0, "start": 0, "entities": [{"type": "x", "end": 1}], "truncated": False}
FIRST = {"id": 1, "label": 'a, "b"\r\n', "score": 0.5, "start": None, "entities": [], "truncated": True}
SECOND = {"id": 2, "note": ["é"], "label": "b", "score": 0.25, "start": None, "entities": []}
SUFFIXES = [".jsonl", ".json", ".csv", ".parquet"]


def written(folder, suffix, *predictions, example=EXAMPLE):
    path = folder / f"out{suffix}"
    write_predictions(path, predictions, example)
    return path


def csv_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, strict=True))


@pytest.mark.parametrize("suffix", [".jsonl", ".txt", ""])
def test_lines_of_json_are_the_default(tmp_path, suffix):
    lines = written(tmp_path, suffix, FIRST, SECOND).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [FIRST, SECOND]


@pytest.mark.parametrize("predictions", [[], [FIRST], [FIRST, SECOND]])
def test_json_is_an_array(tmp_path, predictions):
    assert json.loads(written(tmp_path, ".json", *predictions).read_text()) == predictions


def test_csv_has_the_same_columns_for_all_rows(tmp_path):
    path = written(tmp_path, ".CSV", FIRST, SECOND)
    assert csv_rows(path) == [
        ["id", "note", "label", "score", "start", "entities", "truncated"],
        ["1", "", 'a, "b"\r\n', "0.5", "", "[]", "true"],
        ["2", '["é"]', "b", "0.25", "", "[]", "false"],
    ]
    assert path.read_bytes().startswith(b"id,note,label,score,start,entities,truncated\r\n")


def test_parquet_has_the_types_of_an_answer_even_if_no_row_has_a_value(tmp_path):
    table = pq.read_table(written(tmp_path, ".parquet", FIRST, SECOND))
    answer = {
        "label": pa.string(),
        "score": pa.float64(),
        "start": pa.int64(),
        "entities": pa.list_(pa.field("element", pa.struct({"type": pa.string(), "end": pa.int64()}))),
        "truncated": pa.bool_(),
    }
    note = pa.list_(pa.field("element", pa.string()))
    assert table.schema == pa.schema({"id": pa.int64(), "note": note, **answer})
    assert table.to_pylist() == [{**FIRST, "note": None}, {**SECOND, "truncated": False}]
    assert pq.read_schema(written(tmp_path, ".parquet")) == pa.schema(answer)


def test_a_column_of_several_kinds_is_json_text_in_parquet(tmp_path):
    rows = [{"mixed": value} for value in (1, "1", None, ["é"], {})]
    table = pq.read_table(written(tmp_path, ".parquet", *rows, example={}))
    assert table["mixed"].to_pylist() == ["1", '"1"', None, '["é"]', "{}"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"a": VALUES, "b": st.text()}), min_size=1, max_size=5))
def test_any_columns_can_be_written_and_their_texts_read_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("any")
    texts = [row["b"] for row in rows]
    lines = written(folder, ".jsonl", *rows, example={}).read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == rows
    header, *lines = csv_rows(written(folder, ".csv", *rows, example={}))
    assert [line[header.index("b")] for line in lines] == texts
    assert pq.read_table(written(folder, ".parquet", *rows, example={}))["b"].to_pylist() == texts


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_is_converted_in_blocks(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(prediction_files, "_BLOCK", 100)
    path = written(tmp_path, suffix, *({"id": i} for i in range(50)), example={})
    ids = [row["id"] for row in pq.read_table(path).to_pylist()] if suffix == ".parquet" else csv_rows(path)[1:]
    assert ids == (list(range(50)) if suffix == ".parquet" else [[str(i)] for i in range(50)])
    assert suffix == ".csv" or pq.ParquetFile(path).num_row_groups > 1


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("stop", [KeyboardInterrupt, UserError])
def test_nothing_is_left_of_a_file_that_was_not_completed(tmp_path, suffix, stop):
    def predictions():
        yield FIRST
        raise stop("stopped")

    with pytest.raises(stop):
        write_predictions(tmp_path / f"out{suffix}", predictions(), EXAMPLE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_nothing_is_left_of_a_table_whose_conversion_was_interrupted(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(prediction_files._Table, "blocks", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, suffix, FIRST)
    assert list(tmp_path.iterdir()) == []


def test_values_that_json_lacks_become_texts_or_null():
    day = datetime.date(2020, 1, 2)
    assert json_line({"a": float("nan"), "b": [float("inf"), day], "c": (1, b"\xc3\xa9"), 4: {1: None}}) == (
        '{"a": null, "b": [null, "2020-01-02"], "c": [1, "é"], "4": {"1": null}}'
    )


def refusal(path, source=None):
    with pytest.raises(UserError) as error:
        check_output(path, source and str(source))
    return str(error.value)


def test_an_output_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "rows.csv"
    file.touch()
    check_output(tmp_path / "out.csv", str(file))
    check_output(file, str(tmp_path / "other.csv"))
    assert refusal(tmp_path / "a.TSV").endswith(f"write CSV, such as out={tmp_path / 'a.csv'}.")
    assert f"out={tmp_path} is a folder; name a file in it" in refusal(tmp_path)
    (tmp_path / "answers").mkdir()
    assert refusal(tmp_path / "answer" / "a.csv").endswith("answer; make it first. Did you mean 'answers'?")
    assert refusal(tmp_path / "answers" / ".." / "rows.csv", file).endswith("name another file.")
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file; leave out= away" in refusal(tmp_path / "pipe")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "there is no permission to write to the folder" in refusal(file)


def test_a_line_of_json_does_not_act_on_a_terminal_and_is_the_same_data():
    row = {"label": "\x1b[31m\x9b31m\u202e", "text": "caf\xe9 \u200d\xa0"}
    assert "\\u001b[31m\\u009b31m\\u202e" in json_line(row)
    assert "caf\xe9 \u200d\xa0" in json_line(row)
    assert json.loads(json_line(row)) == row
