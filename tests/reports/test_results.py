import pytest

from tests.reports.runs import DENSE, deployed, lines, plan, published, put
from winnow.files.locks import run_lock
from winnow.reports.groups import mean, sd
from winnow.reports.report_files import write_report
from winnow.reports.results import collect
from winnow.reports.tables import NOT_MEASURED, tables


def test_the_deviation_is_that_of_a_sample_and_one_value_has_none():
    assert mean((1.0, 2.0, 6.0)) == 3.0
    assert sd((1.0, 2.0, 6.0)) == pytest.approx(7**0.5)
    assert sd((1.0,)) is None


def test_runs_that_have_started_and_not_ended_are_reported(tmp_path):
    plan(tmp_path, {"folder": "a"}, {"folder": "b", "seed": 2})
    (tmp_path / "a").mkdir()
    with run_lock(tmp_path / "b"):
        notes = collect([tmp_path]).notes
    assert notes[1:] == [
        f"{tmp_path}/a has started and not ended, and no process on this machine is running it.",
        f"{tmp_path}/b is running.",
    ]


def test_settings_are_shown_if_the_groups_of_a_task_differ_in_them(tmp_path):
    shared = {"trainer.precision": "32-true"}
    put(tmp_path / "a", cell="aa", settings=shared)
    put(tmp_path / "b", cell="bb", settings={**shared, "recipe.pruning.final_sparsity": "0.9"})
    put(tmp_path / "c", cell="cc", task="qqp", settings={"recipe.num_epochs": "2"})
    groups = collect([tmp_path]).groups
    assert [(group.label, group.shown_settings) for group in groups] == [
        ("prune80, dense", {"recipe.pruning.final_sparsity": "default"}),
        ("prune80, final_sparsity=0.9, dense", {"recipe.pruning.final_sparsity": "0.9"}),
        ("prune80, dense", {}),
    ]


def test_two_settings_with_the_same_last_name_have_their_full_names(tmp_path):
    settings = {"recipe.num_epochs": "2", "dense.num_epochs": "2", "recipe.learning_rate.schedule": "cosine"}
    put(tmp_path / "a", cell="aa")
    put(tmp_path / "b", cell="bb", settings=settings)
    assert list(lines(tmp_path))[1] == "prune80, recipe.num_epochs=2, dense.num_epochs=2, schedule=cosine, dense"


def test_groups_with_the_same_names_and_settings_have_their_fingerprints(tmp_path):
    put(tmp_path / "a", cell="aa")
    put(tmp_path / "b", cell="bb")
    assert [group.shown_settings for group in collect([tmp_path]).groups] == [
        {"configuration": "aa"},
        {"configuration": "bb"},
    ]


def test_recovery_is_of_the_dense_run_of_the_same_seed(tmp_path):
    for seed, dense, pruned in ((1, 0.8, 0.6), (2, 0.5, 0.45)):
        put(tmp_path / f"dense{seed}", **(DENSE | {"metrics": {"accuracy": dense}, "seed": seed}))
        put(tmp_path / f"pruned{seed}", seed=seed, metrics={"accuracy": pruned})
    put(tmp_path / "pruned3", seed=3, metrics={"accuracy": 0.1})
    put(tmp_path / "other", model="bert", teacher="none")
    found = lines(tmp_path)
    assert found["minilm, prune80, dense"].values("recovery") == (0.6 / 0.8, 0.45 / 0.5)
    assert found["minilm, dense"].values("recovery") == (1.0, 1.0)
    assert found["bert, prune80"].values("recovery") == ()


def test_recovery_of_a_perplexity_is_below_one_where_it_is_larger(tmp_path):
    put(tmp_path / "a", **(DENSE | {"metrics": {"perplexity": 8.0, "accuracy": 0.5}}))
    put(tmp_path / "b", metrics={"perplexity": 10.0, "accuracy": 0.4})
    assert lines(tmp_path)["prune80, dense"].values("recovery") == (0.8,)


@pytest.mark.parametrize("dense", [0.0, -0.1, None])
def test_there_is_no_recovery_from_nothing(tmp_path, dense):
    metrics = {"accuracy": dense} if dense is not None else {}
    put(tmp_path / "a", **(DENSE | {"metrics": metrics}))
    put(tmp_path / "b")
    assert lines(tmp_path)["prune80, dense"].values("recovery") == ()


def test_a_metric_without_a_value_is_in_every_form_of_the_report(tmp_path):
    put(tmp_path / "a", **DENSE | {"metrics": {"pearson": None, "spearmanr": 0.5}})
    put(tmp_path / "b", metrics={"pearson": None, "spearmanr": 0.25}, deployment=deployed(10, 1.0))
    results = collect([tmp_path])
    files = write_report(results, tmp_path / "report")
    assert [group.values("recovery") for group in results.groups] == [(), ()]
    assert [[cell.text for cell in line.cells[3:5]] for line in tables(results)[0].lines] == [
        [NOT_MEASURED, "0.5000"],
        [NOT_MEASURED, "0.2500"],
    ]
    assert {path.suffix for path in files} >= {".md", ".csv", ".html", ".tex"}


def test_published_figures_of_our_own_model_and_data_need_no_note(tmp_path):
    put(tmp_path / "a", model="bert-base-uncased")
    plan(tmp_path, {"folder": "a"}, published=[published(model="bert_base")])
    assert not collect([tmp_path]).notes


def test_published_figures_of_a_task_that_nobody_ran_are_not_shown(tmp_path):
    put(tmp_path / "a")
    plan(tmp_path, {"folder": "a"}, published=[published(task="squad")])
    results = collect([tmp_path])
    assert [group.published for group in results.groups] == [[]]
    assert results.notes == [
        "The published figures for squad are not shown because this report has no run of that task."
    ]


def test_metrics_on_the_test_split_follow_those_on_validation_data(tmp_path):
    put(tmp_path / "a", metrics={"f1": 0.5, "accuracy": 0.6}, test_metrics={"f1": 0.4})
    (group,) = collect([tmp_path]).groups
    assert list(group.metrics) == ["f1", "accuracy", "f1 (test)"]


def test_a_metric_that_some_seeds_lack_is_of_the_others(tmp_path):
    put(tmp_path / "a", metrics={"accuracy": 0.6}, cell="aa")
    put(tmp_path / "b", metrics={"f1": 0.5, "accuracy": 0.8}, seed=2, cell="aa")
    (group,) = collect([tmp_path]).groups
    assert {name: group.values(name) for name in group.metrics} == {"f1": (0.5,), "accuracy": (0.6, 0.8)}


def test_sizes_and_latency_come_from_the_deployment(tmp_path):
    put(tmp_path / "a", deployment=deployed(2000, 1.5))
    (group,) = collect([tmp_path]).groups
    assert [group.values(name) for name in ("bytes", "compressed_bytes", "latency")] == [(2000,), (1000,), (0.0015,)]


def test_latencies_of_different_machines_cannot_be_compared(tmp_path):
    put(tmp_path / "a", deployment=deployed(2000, 1.5))
    put(tmp_path / "b", recipe="prune90", deployment=deployed(2000, 1.0, cpu="Xeon"))
    assert collect([tmp_path]).notes == [
        "The latencies on sst2 cannot be compared: they were measured on different processors, numbers of threads or "
        "input lengths."
    ]


def test_a_failure_after_the_training_is_reported(tmp_path):
    put(tmp_path / "a", error="the export was refused")
    assert collect([tmp_path]).notes == [
        f"{tmp_path}/a: the training succeeded, but a later step failed: the export was refused"
    ]


def test_settings_that_all_runs_share_are_one_note(tmp_path):
    for seed, epochs in ((1, "3"), (2, "6")):
        settings = {"task.data.path": "/data/sst2", "task.data.max_train_samples": "8000", "recipe.num_epochs": epochs}
        put(tmp_path / epochs, seed=seed, settings=settings, cell=epochs * 12)
    (note,) = collect([tmp_path]).notes
    assert note == "All runs on sst2: task.data.path=sst2, task.data.max_train_samples=8000."


def test_settings_that_several_tasks_share_are_one_note(tmp_path):
    for task in ("sst2", "mrpc"):
        put(tmp_path / task, task=task, settings={"recipe.num_epochs": "1"})
    assert collect([tmp_path]).notes == ["All runs on mrpc, sst2: recipe.num_epochs=1."]
