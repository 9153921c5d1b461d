import json
import os

import pytest

from tests.reports.runs import ROW, put
from winnow.reports.find import find


def test_rows_are_found_in_every_folder_below(tmp_path):
    put(tmp_path / "a" / "b")
    put(tmp_path / "c", seed=2)
    assert [row["folder"] for row in find([tmp_path]).rows] == [tmp_path / "a" / "b", tmp_path / "c"]


def test_a_run_reached_by_two_paths_counts_once(tmp_path):
    put(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = find([tmp_path, tmp_path / "a", tmp_path / "link", tmp_path / "a" / ".." / "a"])
    assert len(found.rows) == 1
    assert not found.left_out


def test_hidden_and_partial_folders_are_not_searched(tmp_path):
    for name in (".hydra", "model.partial"):
        put(tmp_path / name)
    assert not find([tmp_path]).rows


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"status": "ok", "task"', "is damaged or half-written"),
        ("", "is damaged or half-written"),
        ("\xff\xfe", "is damaged or half-written"),
        ("[" * 100000, "is damaged or half-written"),
        (json.dumps(ROW | {"recipe": "\ud800"}), "is damaged or half-written"),
        ("[1, 2]", "holds no row but a list."),
        (
            "{}",
            "is no row of a run: task is None, model is None, recipe is None, teacher is None, seed is None, status",
        ),
        (json.dumps(ROW | {"task": ["sst2"], "seed": "1"}), "is no row of a run: task is ['sst2'], seed is '1'."),
        (json.dumps(ROW | {"seed": True}), "is no row of a run: seed is True."),
        (json.dumps(ROW | {"status": "done"}), "is no row of a run: status is 'done'."),
    ],
)
def test_what_is_no_row_is_left_out_and_said(tmp_path, content, sentence):
    put(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "result.json").write_text(content, encoding="latin-1")
    found = find([tmp_path])
    assert [row["folder"].name for row in found.rows] == ["good"]
    assert len(found.left_out) == 1
    assert f"bad/result.json {sentence}" in found.left_out[0]


def test_a_link_to_a_row_and_an_unreadable_one_are_left_out_and_said(tmp_path, monkeypatch):
    target = put(tmp_path / "elsewhere") / "result.json"
    (tmp_path / "runs" / "link").mkdir(parents=True)
    (tmp_path / "runs" / "link" / "result.json").symlink_to(target)
    locked = put(tmp_path / "runs" / "locked") / "result.json"
    os.chmod(locked, 0)
    found = find([tmp_path / "runs"])
    assert "is a link; name the folder that it points to." in found.left_out[0]
    if os.geteuid() != 0:  # root reads everything
        assert "locked/result.json cannot be read (Permission denied)." in found.left_out[1]
