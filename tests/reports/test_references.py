import pytest

from tests.reports.runs import DENSE, lines, put
from winnow.reports.results import collect


def test_of_several_dense_groups_the_one_with_the_most_similar_settings_is_the_reference(tmp_path):
    short = {"recipe.num_epochs": "1"}
    put(tmp_path / "a", **(DENSE | {"metrics": {"accuracy": 0.5}, "settings": short}))
    put(tmp_path / "b", **DENSE)
    put(tmp_path / "c", metrics={"accuracy": 0.45}, settings=short)
    put(tmp_path / "d", metrics={"accuracy": 0.45})
    groups = collect([tmp_path]).groups
    assert [group.values("recovery") for group in groups] == [(1.0,), (1.0,), (pytest.approx(0.9),), (0.5,)]


def test_a_dense_run_on_other_data_is_no_reference(tmp_path):
    put(tmp_path / "a", **DENSE, settings={"task.data.max_train_samples": "100"})
    put(tmp_path / "b")
    assert lines(tmp_path)["prune80, dense"].values("recovery") == ()


@pytest.mark.parametrize("where", ["runs/sst2/dense-none-minilm/2026", "sweeps/other/sst2-dense-none-minilm-seed1-ab"])
def test_the_dense_run_is_looked_up_among_the_other_runs_of_the_same_outputs(tmp_path, where):
    put(tmp_path / "sweeps" / "s" / "a", metrics={"accuracy": 0.45})
    put(tmp_path / where, **DENSE)
    put(tmp_path / where / "of_a_seed_that_nobody_asks_for", **DENSE, seed=2)
    put(tmp_path / "runs" / "sst2" / "dense-none-bert" / "2026", **DENSE, model="bert")
    results = collect([tmp_path / "sweeps" / "s"])
    dense, pruned = results.groups
    assert (dense.is_reference, pruned.is_reference) == (True, False)
    assert [row.seed for row in dense.runs] == [1]
    assert pruned.values("recovery") == (0.5,)
    assert results.notes == [
        f"The dense run of minilm on sst2 is outside the folders of this report: {tmp_path / where}."
    ]


def test_a_dense_run_in_the_report_needs_no_other(tmp_path):
    put(tmp_path / "sweeps" / "s" / "a")
    put(tmp_path / "sweeps" / "s" / "b", **DENSE)
    put(tmp_path / "runs" / "sst2" / "dense-none-minilm" / "2026", **DENSE)
    results = collect([tmp_path / "sweeps" / "s"])
    assert (len(results.groups), results.notes) == (2, [])


def test_a_dense_run_from_elsewhere_makes_no_setting_differ(tmp_path):
    put(tmp_path / "sweeps" / "s" / "a", settings={"recipe.num_epochs": "2"})
    put(tmp_path / "runs" / "sst2" / "dense-none-minilm" / "2026", **DENSE)
    assert [group.shown_settings for group in collect([tmp_path / "sweeps" / "s"]).groups] == [{}, {}]
