import csv
import io
import json
import os
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from tests.deployed import deploy
from tests.toys import failure, run, run_command
from winnow.files.conf_folder import CONF

NASTY = 'it\'s a, (good) film = yes [x] {y} ${HOME} \\ "q"'
LABELS = ["negative", "positive"]
WINDOWS = {"max_seq_length": 32, "doc_stride": 8, "max_question_length": 16}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three deployment folders, one of them in a run, named as a sweep names it."""
    folder = tmp_path_factory.mktemp("predict")
    deploy(folder / "seed=1,recipe=dense (a)" / "deployment", "text_classification", LABELS)
    deploy(folder / "questions", "question_answering", **WINDOWS)
    deploy(folder / "tags", "token_classification", ["O", "B-person", "I-person"])
    return folder


TEXTS = "deployment=seed=1,recipe=dense (a)"


def ask(place, *arguments):
    return [json.loads(line) for line in run("predict", *arguments, folder=place).splitlines()]


def piped(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content.encode()))))


def test_a_text_is_read_literally(place):
    (row,) = ask(place, TEXTS, f"text={NASTY}", "top_k=2")
    assert list(row) == ["text", "label", "score", "scores"]
    assert row["text"] == NASTY
    assert set(row["scores"]) == set(LABELS)


def test_cells_of_a_file_are_parted_by_the_given_separator(place):
    (place / "tabs.csv").write_text('id\ttext\n7\t"a\tb"\n')
    (row,) = ask(place, TEXTS, "file=tabs.csv", r"separator='\t'")
    assert (row["id"], row["text"]) == ("7", "a\tb")


def test_columns_of_a_file_without_a_header_are_named_by_numbers(place):
    (place / "rows.tsv").write_text("gj04\t1\t\tIt is good.\n")
    (row,) = ask(place, TEXTS, "file=rows.tsv", "header=false", "text_columns=3", "keep=[0,1]")
    assert (row["0"], row["1"], row["text"]) == ("gj04", "1", "It is good.")


def test_a_question_is_answered_from_its_context(place):
    context = "bob sold the old mill, in paris; " * 20
    (row,) = ask(place, "deployment=questions", "question=who sold, and = what?", f"context={context}")
    assert list(row) == ["question", "answer", "score", "start", "end"]
    assert context[row["start"] : row["end"]] == row["answer"]


def test_entities_have_their_positions(place):
    (row,) = ask(place, "deployment=tags", "text=bob  met anna, twice")
    assert list(row) == ["text", "entities"]
    assert all(row["text"][e["start"] : e["end"]] == e["text"] for e in row["entities"])


def test_a_file_gives_a_prediction_for_each_row(place, tmp_path):
    path = tmp_path / "in, (1).csv"
    path.write_text('id,body\n7,"good, very good"\n8,bad\n')
    rows = ask(place, TEXTS, f"file={path}", "text_columns=body")
    assert [(row["id"], row["text"]) for row in rows] == [("7", "good, very good"), ("8", "bad")]


@pytest.mark.parametrize("arguments", [[], ["-"], ["file=-"]])
def test_standard_input_gives_a_prediction_for_each_line(place, monkeypatch, arguments):
    piped(monkeypatch, "good\nbad\n")
    assert [row["text"] for row in ask(place, TEXTS, *arguments)] == ["good", "bad"]


def test_the_output_file_is_written_completely_or_not_at_all(place, tmp_path, monkeypatch):
    out = tmp_path / "out=1.jsonl"
    piped(monkeypatch, "good\n\nbad\n")
    failure("predict", TEXTS, f"out={out}", folder=place)
    assert list(tmp_path.iterdir()) == []
    piped(monkeypatch, "good\n\nbad\n")
    assert ask(place, TEXTS, f"out={out}", "drop_empty=true") == []
    assert [json.loads(line)["text"] for line in out.read_text().splitlines()] == ["good", "bad"]


ROWS = 'id,body,label,extra\n7,"good, ""very""",x,all\n8,bad,y,"a\nb"\n'


def test_all_columns_are_kept_in_a_table(place, tmp_path):
    path, out = tmp_path / "in.csv", tmp_path / "out.CSV"
    path.write_text(ROWS)
    ask(place, TEXTS, f"file={path}", f"out={out}", "text_columns=body", "keep=all")
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "body", "input_label", "extra", "label", "score", "truncated"]
    assert [(row["id"], row["body"], row["input_label"], row["extra"]) for row in rows] == [
        ("7", 'good, "very"', "x", "all"),
        ("8", "bad", "y", "a\nb"),
    ]
    assert {row["label"] for row in rows} <= set(LABELS)


def test_a_column_named_all_is_kept_by_a_list(place, tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("text,all\ngood,1\n")
    (row,) = ask(place, TEXTS, f"file={path}", "keep=[all]")
    assert list(row) == ["all", "text", "label", "score"]


def test_rows_of_questions_are_kept_with_their_contexts(place, tmp_path):
    out = tmp_path / "out.parquet"
    texts = ["question=who sold it?", "context=bob sold it"]
    ask(place, "deployment=questions", *texts, "keep=all", "top_k=2", f"out={out}")
    table = pq.read_table(out)
    assert table.column_names == ["question", "context", "answer", "score", "start", "end", "answers"]
    (row,) = table.to_pylist()
    assert row["context"][row["start"] : row["end"]] == row["answer"] == row["answers"][0]["answer"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text=a"], "deployment must be given"),
        ([TEXTS, "text="], "text= is empty; give it a text."),
        ([TEXTS, "text=a", "engine=openvno"], "engine=openvno: choose auto, onnxruntime, openvino or sparse. Did you"),
        (
            [TEXTS, "text=a", "engine=sparse"],
            "engine=sparse: there is no model.sparse.onnx in seed=1",
        ),
        (
            [TEXTS, "text=a", "format=cvs"],
            "format=cvs: choose one of csv, tsv, json, jsonl, parquet, text, conll. Did you mean 'csv'?",
        ),
        ([TEXTS, "text=a", "batch_size=0"], "batch_size must be a whole number, 1 or more, or null, got 0."),
        ([TEXTS, "text=a", "file=b.txt"], "file=b.txt and text=... exclude one another; leave one of them out."),
        ([TEXTS, "file=b.txt"], "file=b.txt: there is no such file."),
        ([TEXTS, "text=a", "keep=true"], "keep must be all, a name, a list of names, or null, got True."),
        (
            [TEXTS, "text=a", "keep=txet"],
            "the command: there is no column 'txet' to keep, only text; correct keep=. Did",
        ),
        ([TEXTS, "text=a", "out=new/out.csv"], "out=new/out.csv: there is no folder new; make it first."),
        ([TEXTS, "question=a"], "this model needs text=...; the command has question."),
        (["deployment=questions", "question=a"], "this model needs question=... and context=...; the command"),
        (["deployment=tags", "text=a", "top_k=2"], "top_k=2 has no effect"),
        (["deployment=tag", "text=a"], "deployment=tag: there is no such folder. Did you mean 'tags'?"),
    ],
)
def test_a_mistake_gives_one_line(place, arguments, message):
    said = failure("predict", *arguments, folder=place)
    assert said.startswith(f"error: {message}")
    assert "\n" not in said


def test_without_a_text_the_error_names_the_settings_to_give(place, monkeypatch):
    piped(monkeypatch, "")
    assert "standard input is empty" in failure("predict", TEXTS, folder=place)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    message = failure("predict", TEXTS, folder=place)
    assert message == "error: there is nothing to predict: give text=..., file=FILE, or texts on standard input."


def test_a_missing_package_is_named(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert "openvino is not installed" in failure("predict", TEXTS, "text=a", "engine=openvino", folder=place)


def test_a_damaged_graph_is_named(place, tmp_path):
    import shutil

    shutil.copytree(place / "tags", tmp_path / "tags")
    (tmp_path / "tags" / "model.onnx").write_bytes(b"no graph")
    message = failure("predict", "deployment=tags", "text=a", folder=tmp_path)
    assert "tags/model.onnx could not be read by onnxruntime and may be damaged" in message


def test_a_mistyped_setting_is_refused_with_the_nearest():
    ended = run_command("predict", "deployment=x", "txt=a")
    assert ended.returncode == 1
    assert "Did you mean 'text'?" in ended.stderr


@pytest.fixture
def waiting(place):
    """The command, reading from a pipe that stays open, after it has answered a first line."""
    command = [sys.executable, "-m", "src.predict", f"deployment={place / 'tags'}", "batch_size=1"]
    process = subprocess.Popen(
        command, cwd=CONF.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdin.write(b"bob met anna\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["text"] == "bob met anna"
    yield process
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def test_an_interrupt_ends_the_command_with_one_line(waiting):
    os.kill(waiting.pid, signal.SIGINT)
    assert waiting.wait(timeout=60) == 1
    assert waiting.stderr.read() == b"interrupted; run the same command again\n"


def test_the_command_ends_quietly_when_its_output_is_closed(waiting):
    waiting.stdout.close()
    waiting.stdin.write(b"bob met anna\n" * 3)
    waiting.stdin.close()
    assert waiting.wait(timeout=60) == 1
    assert waiting.stderr.read() == b""
    waiting.stdout = waiting.stdin = waiting.stderr
