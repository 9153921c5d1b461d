import json

import pytest

from tests.reports.runs import lines, plan, published, put
from winnow.reports.find import find


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
    found = find([tmp_path])
    assert len(found.rows) == 1
    assert found.left_out == [f"{tmp_path}/sweep.json: {sentence}"]


def test_of_a_job_nothing_counts_but_what_a_plan_says(tmp_path):
    plan(tmp_path, {"folder": "a"}, published=[published(model="x" * 300), published(model="../task/sst2")])
    content = json.loads((tmp_path / "sweep.json").read_text())
    content["jobs"][0]["cell"] = ["aa"]
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    (cell,) = lines(tmp_path).values()
    assert cell.missing == [1]
    assert [each.model for each in cell.published] == ["x" * 300, "sst2"]


def test_planned_jobs_have_the_folders_of_their_runs(tmp_path):
    plan(tmp_path / "sweep", {"folder": "a"}, {"folder": "b", "seed": 2})
    jobs = find([tmp_path]).jobs
    assert [(job["folder"], job["seed"]) for job in jobs] == [(tmp_path / "sweep/a", 1), (tmp_path / "sweep/b", 2)]
