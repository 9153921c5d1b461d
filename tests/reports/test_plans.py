import json

import pytest

from src.reports.find import find
from tests.reports.runs import plan, put


def found_below(folder):
    return find([folder])


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
