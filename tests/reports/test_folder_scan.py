import json
import os

import pytest

from tests.reports.runs import ROW, lines, plan, published, put
from winnow.reports.folder_scan import scan


def test_results_are_found_in_every_folder_below(tmp_path):
    put(tmp_path / "a" / "b")
    put(tmp_path / "c", seed=2)
    assert [row.folder for row in scan([tmp_path]).rows] == [tmp_path / "a" / "b", tmp_path / "c"]


def test_a_run_reached_by_two_paths_counts_once(tmp_path):
    put(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = scan([tmp_path, tmp_path / "a", tmp_path / "link", tmp_path / "a" / ".." / "a"])
    assert len(found.rows) == 1
    assert not found.left_out


def test_hidden_and_partial_folders_are_not_searched(tmp_path):
    for name in (".hydra", "model.partial"):
        put(tmp_path / name)
    assert not scan([tmp_path]).rows


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"status": "ok", "task"', "is damaged or incomplete"),
        ("", "is damaged or incomplete"),
        ("\xff\xfe", "is damaged or incomplete"),
        ("[" * 100000, "is damaged or incomplete"),
        (json.dumps(ROW | {"recipe": "\ud800"}), "is damaged or incomplete"),
        ("[1, 2]", "contains a list instead of a mapping."),
        (
            "{}",
            "is not a valid row: status is missing, task is missing, model is missing, recipe is missing, teacher is",
        ),
        (
            json.dumps(ROW | {"task": ["sst2"], "seed": "1"}),
            "is not a valid row: task is ['sst2'], but should be a valid string, seed is '1', but should be a valid",
        ),
        (json.dumps(ROW | {"seed": True}), "is not a valid row: seed is True, but should be a valid integer."),
        (json.dumps(ROW | {"status": "done"}), "is not a valid row: status is 'done', but should be 'ok', 'failed'"),
    ],
)
def test_a_file_that_is_no_result_is_left_out_and_reported(tmp_path, content, sentence):
    put(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "result.json").write_text(content, encoding="latin-1")
    found = scan([tmp_path])
    assert [row.folder.name for row in found.rows] == ["good"]
    assert len(found.left_out) == 1
    assert f"bad/result.json {sentence}" in found.left_out[0]


def test_a_link_and_an_unreadable_file_are_left_out_and_reported(tmp_path, monkeypatch):
    target = put(tmp_path / "elsewhere") / "result.json"
    (tmp_path / "runs" / "link").mkdir(parents=True)
    (tmp_path / "runs" / "link" / "result.json").symlink_to(target)
    locked = put(tmp_path / "runs" / "locked") / "result.json"
    os.chmod(locked, 0)
    found = scan([tmp_path / "runs"])
    assert "is a link, which is not followed; name the folder that it points to." in found.left_out[0]
    if os.geteuid() != 0:  # root reads everything
        assert "locked/result.json cannot be read (Permission denied)." in found.left_out[1]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"jobs": 5}, ": jobs is not a list."),
        ({"jobs": [5]}, ", entry 1 of jobs is not a valid row: task is missing, model is missing, recipe is missing,"),
        ({"jobs": [{"folder": 1}]}, "teacher is missing, seed is missing, folder is missing."),
        ({"published": [{"source": "X", "metrics": {"f1": None}}]}, ", entry 1 of published is not a valid row: task"),
    ],
)
def test_damaged_entries_of_a_plan_are_left_out_and_reported(tmp_path, content, sentence):
    put(tmp_path / "run")
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    found = scan([tmp_path])
    assert len(found.rows) == 1
    assert len(found.left_out) == 1
    assert found.left_out[0].startswith(f"{tmp_path}/sweep.json")
    assert sentence in found.left_out[0]


def test_published_figures_without_a_number_are_left_out_and_reported(tmp_path):
    plan(tmp_path, published=[published(metrics={"f1": "high"}), published()])
    found = scan([tmp_path])
    assert [dict(row.metrics) for row in found.plans[0].published] == [{"accuracy": 0.92}]
    assert "entry 1 of published: metrics f1 is 'high', but should be a valid number" in found.left_out[0]


def test_names_of_models_in_a_plan_may_be_any_text(tmp_path):
    plan(tmp_path, {"folder": "a"}, published=[published(model="x" * 300), published(model="../task/sst2")])
    (group,) = lines(tmp_path).values()
    assert [run.seed for run in group.missing] == [1]
    assert [row.model for row in group.published] == ["x" * 300, "sst2"]


def test_planned_runs_have_their_folders(tmp_path):
    plan(tmp_path / "sweep", {"folder": "a"}, {"folder": "b", "seed": 2})
    jobs = scan([tmp_path]).plans[0].jobs
    assert [(job.folder, job.seed) for job in jobs] == [(tmp_path / "sweep/a", 1), (tmp_path / "sweep/b", 2)]
