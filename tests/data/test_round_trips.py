"""What other programs write is read back, cell by cell: the same texts in training and in predict.

``ROUND_TRIPS=20000 pytest tests/data/test_round_trips.py`` tries as many random tables.
"""

import csv
import io
import json
import os
import tempfile
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.tasks.test_token_classification import tag_task
from tests.toys import typed_data
from winnow.data.reader import Layout
from winnow.data.splits import load_splits
from winnow.data.text_column import text_column
from winnow.deployment.input_files import read_rows
from winnow.deployment.rows import RowFormat, checked_rows
from winnow.errors import UserError

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet")
TABLES = int(os.environ.get("ROUND_TRIPS", "300")) // len(FORMATS)

GUESSED = ["007", "1e3", "3.10", "+5", "-0", "true", "False", "2020-01-01", "12:30", "NA", "N/A", "None", "null", "nan"]
PUNCTUATED = ['"', '""', '"a"', "'", "a,b", ",", "\t", "a\tb", "\\", "\\n", "#", "[1]", "{}", "=1+1", "a;b", "/"]
LINES = ["\n", "\r\n", "a\rb", "\r", "a\nb", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"]
BLANKS = ["", " ", " a ", "a  ", "\u00a0", "\u3000a", "\ufeff", "\u200b"]
SCRIPTS = [
    "e\u0301",
    "\u00e9",
    "👩\u200d🔬",
    "🇳🇴",
    "שלום",
    "\u202etxet",
    "ไทย",
    "\U0001d4b3",
    "\x00",
    "\x7f",
    "\ufffd",
    "\U0010ffff",
]
LETTERS = st.characters(codec="utf-8")
PARTS = st.sampled_from([*GUESSED, *PUNCTUATED, *LINES, *BLANKS, *SCRIPTS])
CELLS = st.one_of(
    PARTS,
    st.lists(PARTS, max_size=6).map("".join),
    st.text(LETTERS, max_size=8),
    st.builds(lambda part, count: (part * 10_000)[:count], st.text(LETTERS, min_size=1), st.integers(9_990, 10_000)),
)
NAMES = st.sampled_from(["text", "label", "a.b", "a", "#1 String", "0", "7", "naïve", '"', "a,b", " a", "b ", "data"])
NAMES |= st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6
)  # Arrow ends a name at \0
STRINGS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


def tables(*, names=NAMES, cells=CELLS):
    """The names of the columns, and rows of cells."""
    columns = st.lists(names.filter(str.strip), min_size=1, max_size=4, unique=True)
    return columns.flatmap(
        lambda found: st.tuples(
            st.just(found),
            st.lists(st.lists(cells, min_size=len(found), max_size=len(found)), min_size=1, max_size=5),
        )
    )


def csv_text(draw, columns, rows):
    file = io.StringIO(newline="")
    writer = draw(st.sampled_from(["csv", "pandas", "arrow"]))
    if writer == "csv":
        quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
        # Python leaves a carriage return without quotes if it ends no line
        ends = ["\r\n"] if quoting == csv.QUOTE_MINIMAL else ["\n", "\r\n", "\r"]
        table = csv.writer(file, quoting=quoting, lineterminator=draw(st.sampled_from(ends)))
        table.writerows([columns, *rows])
    elif writer == "pandas":
        pd.DataFrame(rows, columns=columns).to_csv(file, index=False, lineterminator="\r\n")
    else:
        sink = io.BytesIO()
        style = draw(st.sampled_from(["needed", "all_valid"]))
        pyarrow.csv.write_csv(
            arrow_table(columns, rows, STRINGS[:1]), sink, pyarrow.csv.WriteOptions(quoting_style=style)
        )
        return sink.getvalue().decode()
    return file.getvalue()


def tsv_text(draw, columns, rows):
    end = draw(st.sampled_from(["\n", "\r\n"]))
    if len(columns) == 1 or draw(st.booleans()):
        return "".join("\t".join(cells) + end for cells in [columns, *rows])
    file = io.StringIO(newline="")
    csv.writer(file, "excel-tab", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator=end).writerows(
        [columns, *rows]
    )
    return file.getvalue()


def json_lines_text(draw, columns, rows):
    if draw(st.booleans()):
        return pd.DataFrame(rows, columns=columns).to_json(
            orient="records", lines=True, force_ascii=draw(st.booleans())
        )
    end = draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    return "".join(json.dumps(row, ensure_ascii=draw(st.booleans())) + end for row in objects(draw, columns, rows))


def json_text(draw, columns, rows):
    if draw(st.booleans()):
        return pd.DataFrame(rows, columns=columns).to_json(orient="records", indent=draw(st.sampled_from([0, 2])))
    document = objects(draw, columns, rows)
    document = draw(st.sampled_from([document, {"version": 1.1, "data": document}]))
    return json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 2])))


def objects(draw, columns, rows):
    """Rows with their keys in any order; a missing value is null, or in later rows its key is left out."""
    first, *others = [dict(draw(st.permutations(list(zip(columns, cells, strict=True))))) for cells in rows]
    if draw(st.booleans()):
        others = [{name: cell for name, cell in row.items() if cell is not None} for row in others]
    return [first, *others]


def arrow_table(columns, rows, kinds):
    cells = zip(*rows, strict=True)
    return pa.table([pa.array(column, kinds[i % len(kinds)]) for i, column in enumerate(cells)], names=columns)


def write_parquet(draw, columns, rows, path):
    if draw(st.booleans()):
        pd.DataFrame(rows, columns=columns).to_parquet(path)
        return
    table = arrow_table(columns, rows, draw(st.permutations(STRINGS)))
    pq.write_table(table, path, row_group_size=draw(st.integers(1, 3)), use_dictionary=draw(st.booleans()))


SEPARATORS = {".csv": ",", ".tsv": "\t"}
TEXTS = {"csv": csv_text, "tsv": tsv_text, "jsonl": json_lines_text, "json": json_text}


def written(draw, columns, rows, path):
    """Write a table; the settings that a user has to name."""
    if path.suffix == ".parquet":
        write_parquet(draw, columns, rows, path)
        return {}
    text = TEXTS[path.suffix[1:]](draw, columns, rows)
    encodings = ["utf-8-sig"] if text.startswith("\ufeff") else ["utf-8", "utf-8-sig", "utf-16"]
    path.write_bytes(text.encode(draw(st.sampled_from(encodings))))
    if len(columns) == 1 and path.suffix in SEPARATORS:  # else a name such as a;b may be taken for two
        return {"separator": SEPARATORS[path.suffix]}
    return {}


def check_read(path, columns, expected, **named):
    """Compare the cells that training and predict read with the expected ones.

    Args:
        path: of the file.
        columns: their names.
        expected: rows of cells.
        named: settings that a user names.
    """
    files = {"train": str(path), "validation": None, "test": None}
    data = typed_data("masked_lm", files=files, text_columns=columns, **named)
    located = list(read_rows(str(path), Layout("", **named), ("text",)))
    assert [[row.get(column) for column in columns] for _, row in located] == expected
    split = load_splits(data)["train"]
    for i, column in enumerate(columns):
        cells = [row[i] for row in expected]
        assert text_column(split, column, column, "train")[column][:] == cells
        row_format = RowFormat({"text": (column,)}, word_lists=False, repeated=(), keep=None, drop_empty=True)
        found = list(checked_rows([(place, row) for place, row in located if column in row], row_format))
        assert [row.texts["text"] for row in found] == [cell for cell in cells if cell and cell.strip()]


def check_round_trip(draw, suffix, columns, rows, expected):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", Path(folder))
        path = Path(folder, f"train.{suffix}")
        check_read(path, columns, expected, **written(draw, columns, rows, path))


@settings(max_examples=TABLES)
@given(tables(cells=CELLS | st.none()), st.data())
def test_a_csv_table_is_read_back(table, data):
    columns, rows = table
    with refused_for_zero_bytes(rows):
        check_round_trip(data.draw, "csv", columns, rows, [[cell or "" for cell in row] for row in rows])


def without_tabs_and_lines(text):
    return text.translate({ord(character): None for character in "\t\r\n"})


@settings(max_examples=TABLES)
@given(tables(names=NAMES.map(without_tabs_and_lines), cells=CELLS.map(without_tabs_and_lines)), st.data())
def test_a_tsv_table_is_read_back(table, data):
    columns, rows = table
    with refused_for_zero_bytes(rows):
        check_round_trip(data.draw, "tsv", columns, rows, rows)


@contextmanager
def refused_for_zero_bytes(rows):
    """Lets the error pass for a file with so many zero bytes that it looks like UTF-16."""
    try:
        yield
    except UserError as error:
        if "has zero bytes" not in str(error) or not any("\0" in cell for row in rows for cell in row if cell):
            raise
        event("refused for zero bytes")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
@settings(max_examples=TABLES)
@given(tables(cells=CELLS | st.none()), st.data())
def test_a_table_with_missing_values_is_read_back(suffix, table, data):
    columns, rows = table
    check_round_trip(data.draw, suffix, columns, rows, rows)


LITERALS = ["7", "-0", "3.10", "1e3", "1E400", "12345678901234567890.5", "true", "false"]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json"])
def test_numbers_and_truth_values_are_texts_as_they_are_written(tmp_path, suffix):
    lines = [f'{{"text": {literal}}}' for literal in LITERALS]
    contents = {"jsonl": "\n".join(lines), "json": f"[{', '.join(lines)}]"}
    path = tmp_path / f"train.{suffix}"
    path.write_text(contents.get(suffix) or "\n".join(["text", *LITERALS]))
    check_read(path, ["text"], [[literal] for literal in LITERALS])


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        (pa.array([7, None], pa.int8()), ["7", None]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([3.0, 0.1, 1e300, -0.0]), ["3", "0.1", "1e+300", "-0"]),
        (pa.array([0.1], pa.float32()), ["0.1"]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array([Decimal("3.10"), Decimal("-0.05")]), ["3.10", "-0.05"]),
        (pa.array([18262], pa.date32()), ["2020-01-01"]),
        (pa.array([1577836800123], pa.timestamp("ms")), ["2020-01-01 00:00:00.123"]),
        (pa.array([1577836800000], pa.timestamp("ms", "Europe/Oslo")), ["2020-01-01 01:00:00.000+0100"]),
        (pa.array([45_000_000], pa.time32("ms")), ["12:30:00.000"]),
        (pa.array(["a", "b", None, "a"]).dictionary_encode(), ["a", "b", None, "a"]),
        (pa.array([3, 4, 3]).dictionary_encode(), ["3", "4", "3"]),
        (pa.array([" a ", None], pa.large_string()), [" a ", None]),
    ],
)
def test_values_of_parquet_are_the_same_texts_in_training_and_in_predict(tmp_path, cells, texts):
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": cells}), path)
    check_read(path, ["text"], [[text] for text in texts])


SENTENCES = [
    (["in", "New York", "'s", 'the "x"', "10\u00a0000", "a,b"], ["O", "B-LOC", "O", "O", "O", "O"]),
    (["NA", "1e3", "007"], ["O", "O", "B-NUM"]),
]


def write_sentences(path):
    rows = [{"tokens": words, "ner_tags": tags} for words, tags in SENTENCES]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".conll":
        blocks = ["".join(f"{word}\t{tag}\n" for word, tag in zip(*each, strict=True)) for each in SENTENCES]
        path.write_text("\n".join(blocks))
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif path.suffix == ".tsv":
        path.write_text("tokens\tner_tags\n" + "".join(f"{json.dumps(w)}\t{json.dumps(t)}\n" for w, t in SENTENCES))
    else:
        pd.DataFrame(rows).to_json(path, orient="records", lines=path.suffix == ".jsonl")


@pytest.mark.parametrize("suffix", [*FORMATS, "conll"])
def test_the_words_of_a_sentence_are_the_same_in_training_and_in_predict(tmp_path, suffix):
    path = tmp_path / f"train.{suffix}"
    write_sentences(path)
    task = tag_task()
    prepared = task.prepare(load_splits(typed_data("token_classification", path=str(tmp_path))))["train"]
    assert prepared["words"][:] == [words for words, _ in SENTENCES]
    assert [[task.labels[tag] for tag in tags] for tags in prepared["labels"][:]] == [tags for _, tags in SENTENCES]
    found = checked_rows(read_rows(str(path), Layout("", text_column="tokens"), ("text",)), RowFormat.of(task))
    assert [row.texts["text"] for row in found] == [words for words, _ in SENTENCES]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(1)])
def test_bytes_of_parquet_are_texts_neither_in_training_nor_in_predict(tmp_path, kind):
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": pa.array([b"\xff"], kind), "label": ["a"]}), path)
    with pytest.raises(UserError, match="column 'text' of the train split must hold texts, got Value"):
        text_column(load_splits(typed_data(path=str(tmp_path)))["train"], "text", "text", "train")
    with pytest.raises(UserError, match=r"train.parquet, row 1: text must be a text, got"):
        list(checked_rows(read_rows(str(path), Layout(""), ("text",)), RowFormat({"text": ("text",)}, False, ())))


def test_a_type_of_parquet_that_no_task_can_use_is_refused(tmp_path):
    pairs = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
    pq.write_table(pa.table({"text": pairs, "label": ["a"]}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"train\.parquet: the type of a column cannot be read: .*map<"):
        load_splits(typed_data(path=str(tmp_path)))
