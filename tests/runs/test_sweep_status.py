"""Progress of a sweep: states, time left, titles."""

import json
import os

import pytest

from winnow.files.locks import run_lock
from winnow.runs.sweep_status import JobState, job_states, outcome, progress, seconds_left

STARTED = 1_700_000_000.0


def job(folder, **words):
    return {"folder": folder, "task": "sst2", "model": "a/b", "recipe": "prune80", "teacher": "none", "seed": 1,
            "num_epochs": 2, "settings": {}, **words}  # fmt: skip


@pytest.fixture
def sweep(tmp_path):
    """Jobs and the rows that they have: a sweep started at ``STARTED``."""

    def made(jobs, rows=()):
        (tmp_path / "sweep.json").write_text(json.dumps({"jobs": jobs}))
        os.utime(tmp_path / "sweep.json", (STARTED, STARTED))
        for folder, (text, after) in dict(rows).items():
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "result.json").write_text(text)
            os.utime(tmp_path / folder / "result.json", (STARTED + after, STARTED + after))
        return tmp_path

    return made


def test_a_job_is_done_failed_since_the_start_running_or_waiting(sweep):
    rows = {
        "good": ('{"status": "ok", "error": null}', -9),
        "undeployed": ('{"status": "ok", "error": "no room"}', 5),
        "failed": ('{"status": "failed", "error": "why"}', 5),
        "failed_before": ('{"status": "failed", "error": "why"}', -5),
        "cut": ('{"status": "o', 5),
        "odd": ("[1]", 5),
    }
    folder = sweep([job(name) for name in (*rows, "running", "nothing")], rows)
    with run_lock(folder / "running"):
        words = {state.job["folder"]: state.word for state in job_states(folder)}
        assert progress(folder).startswith("1 of 8 done, 2 failed, 1 running")
    assert words == {
        "good": "done", "undeployed": "failed", "failed": "failed", "failed_before": "waiting", "cut": "waiting",
        "odd": "waiting", "running": "running", "nothing": "waiting",
    }  # fmt: skip


@pytest.mark.parametrize("epochs", ["2", None, [], float("nan"), float("inf"), -1])
def test_a_damaged_number_of_epochs_counts_as_one(epochs):
    states = [JobState(job("a", num_epochs=each), "", "done", {}, 20) for each in (epochs, 3)]
    assert seconds_left([*states, JobState(job("b", num_epochs=2), "", "waiting", {})], 10, 30) == 10


def test_the_time_left_is_that_of_the_epochs_left_at_the_pace_of_those_done_since_the_start():
    def state(word, epochs, ended=0.0):
        return JobState(job("a", num_epochs=epochs), "", word, {}, ended)

    states = [
        state("done", 100, 5),
        state("done", 3, 20),
        state("failed", 9, 21),
        state("running", 2),
        state("waiting", 4),
    ]
    assert seconds_left(states, started=10, now=40) == 30 * (2 + 4) / 3
    assert seconds_left(states[3:], started=10, now=40) is None


def test_a_title_has_every_setting_in_which_the_jobs_differ(sweep):
    jobs = [
        job("a", settings={"recipe.x": "1", "model.name": "m"}),
        job("b", seed=2, settings={"recipe.x": "2", "model.name": "m"}),
    ]
    assert [state.title for state in job_states(sweep(jobs))] == [
        "prune80, teacher none, seed 1, x=1",
        "prune80, teacher none, seed 2, x=2",
    ]
    assert job_states(sweep([job("a"), job("b", model="c/d")]))[1].title == "d, prune80, teacher none, seed 1"


def test_the_outcome_of_a_row_is_its_main_metric_or_its_error():
    assert outcome({"metrics": {"f1": 0.51234, "recall": 1}}) == "f1 0.5123"
    assert outcome({"error": "no data", "metrics": {"f1": 1.0}}) == "no data"
    assert outcome({"metrics": {"pearson": None}}) == "pearson -"
    assert outcome({}) == ""


def test_without_a_plan_there_are_no_jobs(tmp_path):
    assert progress(tmp_path) == "0 of 0 done"
    (tmp_path / "sweep.json").write_text("[1")
    assert job_states(tmp_path) == []
