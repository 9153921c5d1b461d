import json
import os

import pytest

from src.reports.rows import find
from tests.reports.runs import ROW, plan, put


def found_below(folder):
    return find([folder])


def test_rows_are_found_in_every_folder_below(tmp_path):
    put(tmp_path / "a" / "b")
    put(tmp_path / "c", seed=2)
    assert [row["folder"] for row in found_below(tmp_path).rows] == [tmp_path / "a" / "b", tmp_path / "c"]


def test_a_run_reached_by_two_paths_counts_once(tmp_path):
    put(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = find([tmp_path, tmp_path / "a", tmp_path / "link", tmp_path / "a" / ".." / "a"])
    assert len(found.rows) == 1
    assert not found.left_out


def test_hidden_and_partial_folders_are_not_searched(tmp_path):
    for name in (".hydra", "model.partial"):
        put(tmp_path / name)
    assert not found_below(tmp_path).rows


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"status": "ok", "task"', "is damaged or half-written"),
        ("", "is damaged or half-written"),
        ("\xff\xfe", "is damaged or half-written"),
        ("[" * 100000, "is damaged or half-written"),
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
    found = found_below(tmp_path)
    assert [row["folder"].name for row in found.rows] == ["good"]
    assert len(found.left_out) == 1
    assert f"bad/result.json {sentence}" in found.left_out[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metrics": {"accuracy": float("nan"), "f1": 0.5}}, "metrics accuracy is not finite"),
        ({"metrics": {"accuracy": 10**400, "f1": 0.5}}, "metrics accuracy is not finite"),
        ({"metrics": {"accuracy": "high", "f1": 0.5}}, "metrics accuracy is no number"),
        ({"sparsity": "0.8"}, "sparsity is no number"),
        ({"sparsity_by_layer": [0.8]}, "sparsity_by_layer is no mapping"),
        ({"deployment": 7}, "deployment is no mapping"),
        ({"deployment": {"bytes": "large"}}, "bytes is no number"),
        ({"settings": "none"}, "settings is no mapping"),
        ({"metrics": {}}, "there are no metrics"),
    ],
)
def test_what_is_wrong_in_a_row_is_left_out_of_it_and_said(tmp_path, changes, sentence):
    put(tmp_path / "run", **changes)
    found = found_below(tmp_path)
    assert len(found.rows) == 1
    assert "accuracy" not in found.rows[0]["metrics"] or "metrics" not in changes
    assert found.left_out == [f"{tmp_path}/run/result.json: {sentence}; the rest of the row is shown."]


@pytest.mark.parametrize("latency", [3, {}, {"batches": {"8": {}}}, {"batches": {"1": []}}])
def test_a_latency_at_another_batch_size_or_none_is_not_measured(tmp_path, latency):
    put(tmp_path, deployment={"precision": "int8", "bytes": 5, "latency": latency})
    found = found_below(tmp_path)
    assert found.rows[0]["deployment"]["seconds"] is None
    assert not found.left_out


def test_a_link_to_a_row_and_an_unreadable_one_are_left_out_and_said(tmp_path, monkeypatch):
    target = put(tmp_path / "elsewhere") / "result.json"
    (tmp_path / "runs" / "link").mkdir(parents=True)
    (tmp_path / "runs" / "link" / "result.json").symlink_to(target)
    locked = put(tmp_path / "runs" / "locked") / "result.json"
    os.chmod(locked, 0)
    found = found_below(tmp_path / "runs")
    assert "is a link; name the folder that it points to." in found.left_out[0]
    if os.geteuid() != 0:  # root reads everything
        assert "locked/result.json cannot be read (Permission denied)." in found.left_out[1]


def test_an_older_row_has_the_settings_of_its_command(tmp_path):
    command = (
        "python -m src.train task=sst2 'task.data.path=my data' +modifier@recipe.frozen=frozen recipe.num_epochs=2 "
        "dense.num_epochs=1 seed=3 hydra.run.dir=x logger=none trainer.precision=32-true"
    )
    put(tmp_path / "student", settings=None, command=f"{command} recipe=prune80")
    put(tmp_path / "teacher", settings=None, command=f"{command} recipe=prune80", recipe="dense", teacher="none")
    student, teacher = (row["settings"] for row in found_below(tmp_path).rows)
    shared = {"task.data.path": "my data", "trainer.precision": "32-true"}
    own = {"recipe.num_epochs": "2", "modifier@recipe.frozen": "frozen", "dense.num_epochs": "1"}
    assert student == {**shared, **own}
    assert teacher == {**shared, "recipe.num_epochs": "1"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"jobs": 5}, "jobs is no list."),
        ({"jobs": [5]}, "entry 1 of jobs is damaged."),
        ({"jobs": [{"folder": 1}]}, "entry 1 of jobs is damaged."),
        ({"published": [{"source": "X", "metrics": {"f1": None}}]}, "entry 1 of published is damaged."),
    ],
)
def test_what_is_wrong_in_a_plan_is_left_out_and_said(tmp_path, content, sentence):
    put(tmp_path / "run")
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    found = found_below(tmp_path)
    assert len(found.rows) == 1
    assert found.left_out == [f"{tmp_path}/sweep.json: {sentence}"]


def test_planned_jobs_have_the_folders_of_their_runs(tmp_path):
    plan(tmp_path / "sweep", {"folder": "a"}, {"folder": "b", "seed": 2})
    jobs = found_below(tmp_path).jobs
    assert [(job["folder"], job["seed"]) for job in jobs] == [(tmp_path / "sweep/a", 1), (tmp_path / "sweep/b", 2)]
