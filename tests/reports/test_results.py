import os

import pytest

from src.reports.results import Statistic, collect
from src.run_folder import alone
from tests.reports.runs import DENSE, deployed, failed, plan, put


def lines(folder):
    return {cell.label: cell for cell in collect([folder]).cells}


def test_a_statistic_has_the_sample_deviation_and_none_of_one_value():
    assert Statistic((1.0, 2.0, 6.0)).mean == 3.0
    assert Statistic((1.0, 2.0, 6.0)).deviation == pytest.approx(7**0.5)
    assert Statistic((1.0,)).deviation is None


def test_seeds_of_one_configuration_are_one_line(tmp_path):
    for seed, accuracy in ((2, 0.86), (1, 0.88)):
        put(tmp_path / f"{seed}", seed=seed, cell="aa", metrics={"accuracy": accuracy})
    put(tmp_path / "other", recipe="prune90", cell="bb")
    found = lines(tmp_path)
    assert list(found) == ["prune80, dense", "prune90, dense"]
    assert [row["seed"] for row in found["prune80, dense"].rows] == [1, 2]
    assert found["prune80, dense"].metrics == {"accuracy": Statistic((0.88, 0.86))}
    assert found["prune80, dense"].settings == {}


def test_tasks_stand_one_after_the_other_and_their_dense_runs_first(tmp_path):
    put(tmp_path / "a")
    put(tmp_path / "b", task="qqp")
    put(tmp_path / "c", **DENSE)
    put(tmp_path / "d", task="qqp", teacher="none")
    cells = collect([tmp_path]).cells
    assert [(cell.task, cell.label) for cell in cells] == [
        ("sst2", "dense"),
        ("sst2", "prune80, dense"),
        ("qqp", "prune80, dense"),
        ("qqp", "prune80"),
    ]


def test_of_several_good_rows_of_a_seed_the_newest_is_shown(tmp_path):
    for name, age in (("new", 1), ("old", 100)):
        put(tmp_path / name, metrics={"accuracy": 1 / age})
        written = os.stat(tmp_path / name / "result.json").st_mtime - age
        os.utime(tmp_path / name / "result.json", (written, written))
    results = collect([tmp_path])
    assert results.cells[0].metrics["accuracy"].values == (1.0,)
    assert results.left_out == [f"{tmp_path}/old: a newer run of the same configuration and seed is shown instead."]


def test_a_seed_that_failed_and_was_run_again_counts_as_good(tmp_path):
    put(tmp_path / "a", **failed())
    put(tmp_path / "b")
    (cell,) = collect([tmp_path]).cells
    assert (len(cell.rows), cell.failed) == (1, [])


def test_failed_and_missing_seeds_are_told(tmp_path):
    put(tmp_path / "s" / "a")
    put(tmp_path / "s" / "b", seed=2, **failed("out of\n memory"))
    plan(tmp_path / "s", *({"folder": name, "seed": seed} for seed, name in enumerate("abcd", 1)))
    results = collect([tmp_path])
    (cell,) = results.cells
    assert [row["seed"] for row in cell.rows] == [1]
    assert [(each["seed"], each["error"]) for each in cell.failed] == [(2, "out of memory")]
    assert cell.missing == [3, 4]
    assert results.notes == [f"3 of 4 runs of {tmp_path}/s lack a good row; to run these: python -m src.train -m ..."]


def test_a_planned_configuration_without_any_row_is_a_line(tmp_path):
    put(tmp_path / "a")
    jobs = [{"folder": "b", "recipe": "prune90"}, {"folder": "a"}, {"folder": "c", "recipe": "prune95"}]
    plan(tmp_path, *jobs)
    found = lines(tmp_path)
    assert {label: cell.missing for label, cell in found.items()} == {
        "prune90, dense": [1],
        "prune80, dense": [],
        "prune95, dense": [1],
    }
    assert list(found) == ["prune90, dense", "prune80, dense", "prune95, dense"]
    assert found["prune90, dense"].metrics == {}
    assert found["prune90, dense"].sparsity is None


def test_a_planned_seed_that_another_sweep_has_run_is_not_missing(tmp_path):
    put(tmp_path / "one" / "a", cell="aa")
    put(tmp_path / "two" / "b", cell="aa", seed=2)
    plan(tmp_path / "two", {"folder": "a"}, {"folder": "b", "seed": 2})
    (cell,) = collect([tmp_path]).cells
    assert (len(cell.rows), cell.missing) == (2, [])


def test_runs_that_have_begun_and_not_ended_are_told(tmp_path):
    plan(tmp_path, {"folder": "a"}, {"folder": "b", "seed": 2})
    (tmp_path / "a").mkdir()
    with alone(tmp_path / "b"):
        notes = collect([tmp_path]).notes
    assert notes[1:] == [f"{tmp_path}/a has begun and not ended: it was stopped.", f"{tmp_path}/b is running."]


def test_settings_are_those_in_which_the_lines_of_a_task_differ(tmp_path):
    shared = {"trainer.precision": "32-true"}
    put(tmp_path / "a", cell="aa", settings=shared)
    put(tmp_path / "b", cell="bb", settings={**shared, "recipe.pruning.final_sparsity": "0.9"})
    put(tmp_path / "c", cell="cc", task="qqp", settings={"recipe.num_epochs": "2"})
    cells = collect([tmp_path]).cells
    assert [(cell.label, cell.settings) for cell in cells] == [
        ("prune80, dense", {"recipe.pruning.final_sparsity": "default"}),
        ("prune80, dense, final_sparsity=0.9", {"recipe.pruning.final_sparsity": "0.9"}),
        ("prune80, dense", {}),
    ]


def test_lines_that_words_do_not_tell_apart_have_their_fingerprints(tmp_path):
    put(tmp_path / "a", cell="aa")
    put(tmp_path / "b", cell="bb")
    assert [cell.settings for cell in collect([tmp_path]).cells] == [{"configuration": "aa"}, {"configuration": "bb"}]


def test_recovery_is_of_the_dense_run_of_the_same_seed(tmp_path):
    for seed, dense, pruned in ((1, 0.8, 0.6), (2, 0.5, 0.45)):
        put(tmp_path / f"dense{seed}", **(DENSE | {"metrics": {"accuracy": dense}, "seed": seed}))
        put(tmp_path / f"pruned{seed}", seed=seed, metrics={"accuracy": pruned})
    put(tmp_path / "pruned3", seed=3, metrics={"accuracy": 0.1})
    put(tmp_path / "other", model="bert", teacher="none")
    found = lines(tmp_path)
    assert found["minilm, prune80, dense"].recovery == Statistic((0.6 / 0.8, 0.45 / 0.5))
    assert found["minilm, dense"].recovery == Statistic((1.0, 1.0))
    assert found["bert, prune80"].recovery is None


def test_recovery_of_a_perplexity_is_below_one_where_it_is_larger(tmp_path):
    put(tmp_path / "a", **(DENSE | {"metrics": {"perplexity": 8.0, "accuracy": 0.5}}))
    put(tmp_path / "b", metrics={"perplexity": 10.0, "accuracy": 0.4})
    assert lines(tmp_path)["prune80, dense"].recovery == Statistic((0.8,))


@pytest.mark.parametrize("dense", [0.0, -0.1, None])
def test_there_is_no_recovery_from_nothing(tmp_path, dense):
    metrics = {"accuracy": dense} if dense is not None else {}
    put(tmp_path / "a", **(DENSE | {"metrics": metrics}))
    put(tmp_path / "b")
    assert lines(tmp_path)["prune80, dense"].recovery is None


def test_of_several_dense_runs_the_one_that_is_set_most_alike_is_the_reference(tmp_path):
    short = {"recipe.num_epochs": "1"}
    put(tmp_path / "a", **(DENSE | {"metrics": {"accuracy": 0.5}, "settings": short}))
    put(tmp_path / "b", **DENSE)
    put(tmp_path / "c", metrics={"accuracy": 0.45}, settings=short)
    put(tmp_path / "d", metrics={"accuracy": 0.45})
    cells = collect([tmp_path]).cells
    assert [round(cell.recovery.mean, 4) for cell in cells] == [1.0, 1.0, 0.9, 0.5]


def test_a_dense_run_on_other_data_is_no_reference(tmp_path):
    put(tmp_path / "a", **DENSE, settings={"task.data.max_train_samples": "100"})
    put(tmp_path / "b")
    assert lines(tmp_path)["prune80, dense"].recovery is None


@pytest.mark.parametrize("where", ["runs/sst2/dense-none-minilm/2026", "sweeps/other/sst2-dense-none-minilm-seed1-ab"])
def test_the_dense_run_is_looked_up_among_the_other_runs_of_the_same_outputs(tmp_path, where):
    put(tmp_path / "sweeps" / "s" / "a", metrics={"accuracy": 0.45})
    put(tmp_path / where, **DENSE)
    put(tmp_path / where / "of_a_seed_that_nobody_asks_for", **DENSE, seed=2)
    put(tmp_path / "runs" / "sst2" / "dense-none-bert" / "2026", **DENSE, model="bert")
    results = collect([tmp_path / "sweeps" / "s"])
    dense, pruned = results.cells
    assert (dense.reference, pruned.reference) == (True, False)
    assert [row["seed"] for row in dense.rows] == [1]
    assert pruned.recovery == Statistic((0.5,))
    assert results.notes == [f"The dense run of minilm on sst2 lies elsewhere: {tmp_path / where}."]


def test_a_dense_run_in_the_report_needs_no_other(tmp_path):
    put(tmp_path / "sweeps" / "s" / "a")
    put(tmp_path / "sweeps" / "s" / "b", **DENSE)
    put(tmp_path / "runs" / "sst2" / "dense-none-minilm" / "2026", **DENSE)
    results = collect([tmp_path / "sweeps" / "s"])
    assert (len(results.cells), results.notes) == (2, [])


def published(**changes):
    row = {"source": "Sanh", "task": "sst2", "model": "bert_base", "recipe": "prune80", "teacher": "dense"}
    return row | {"metrics": {"accuracy": 0.92}} | changes


def test_published_figures_stand_beside_the_cell_of_their_words(tmp_path):
    put(tmp_path / "a")
    plan(tmp_path, {"folder": "a"}, published=[published(note="soft"), published(source="Kurtic")])
    results = collect([tmp_path])
    (cell,) = results.cells
    assert [(each.source, each.note, each.model) for each in cell.published] == [
        ("Sanh", "soft", "bert-base-uncased"),
        ("Kurtic", "", "bert-base-uncased"),
    ]
    assert results.notes == ["Published figures are of bert-base-uncased on all of sst2, ours of minilm."]


def test_published_figures_of_our_own_model_and_data_need_no_note(tmp_path):
    put(tmp_path / "a", model="bert-base-uncased")
    plan(tmp_path, {"folder": "a"}, published=[published(model="bert_base")])
    assert not collect([tmp_path]).notes


def test_published_figures_without_a_cell_are_lines_of_their_own(tmp_path):
    put(tmp_path / "a")
    plan(tmp_path, {"folder": "a"}, published=[published(recipe="prune90"), published(recipe="prune90", source="K")])
    cells = collect([tmp_path]).cells
    assert [(cell.recipe, len(cell.rows), len(cell.published)) for cell in cells] == [
        ("prune80", 1, 0),
        ("prune90", 0, 2),
    ]


def test_published_figures_of_a_task_that_nobody_ran_are_not_shown(tmp_path):
    put(tmp_path / "a")
    plan(tmp_path, {"folder": "a"}, published=[published(task="squad")])
    results = collect([tmp_path])
    assert [cell.published for cell in results.cells] == [[]]
    assert results.notes == ["Published figures of squad are not shown, as no run here is of it."]


def test_the_published_figures_of_two_sweeps_of_one_experiment_stand_once(tmp_path):
    for name in ("one", "two"):
        put(tmp_path / name / "a", recipe="prune80", seed=len(name))
        plan(tmp_path / name, {"folder": "a"}, published=[published()])
    assert [len(cell.published) for cell in collect([tmp_path]).cells] == [1]


def test_metrics_of_a_test_file_stand_after_those_of_validation(tmp_path):
    put(tmp_path / "a", metrics={"f1": 0.5, "accuracy": 0.6}, test_metrics={"f1": 0.4})
    (cell,) = collect([tmp_path]).cells
    assert list(cell.metrics) == ["f1", "accuracy", "f1 (test)"]


def test_a_metric_that_some_seeds_lack_is_of_the_others(tmp_path):
    put(tmp_path / "a", metrics={"accuracy": 0.6}, cell="aa")
    put(tmp_path / "b", metrics={"f1": 0.5, "accuracy": 0.8}, seed=2, cell="aa")
    (cell,) = collect([tmp_path]).cells
    assert {name: each.values for name, each in cell.metrics.items()} == {"f1": (0.5,), "accuracy": (0.6, 0.8)}


def test_sizes_and_latency_come_from_the_deployment(tmp_path):
    put(tmp_path / "a", deployment=deployed(2000, 1.5))
    (cell,) = collect([tmp_path]).cells
    assert (cell.bytes, cell.compressed_bytes, cell.latency) == (
        Statistic((2000,)),
        Statistic((1000,)),
        Statistic((0.0015,)),
    )


def test_latencies_of_unlike_machines_are_not_to_be_compared(tmp_path):
    put(tmp_path / "a", deployment=deployed(2000, 1.5))
    put(tmp_path / "b", recipe="prune90", deployment=deployed(2000, 1.0, cpu="Xeon"))
    assert collect([tmp_path]).notes == [
        "Latencies on sst2 are of unlike processors, threads or lengths, so they cannot be compared."
    ]


def test_a_job_that_failed_before_its_configuration_stood_is_a_seed_of_its_line(tmp_path):
    words = {"teacher": "checkpoint", "settings": {"teacher.name": "/runs/dense-none-minilm"}}
    put(tmp_path / "a", cell="aa", **(words | {"teacher": "/runs/dense-none-minilm"}))
    put(tmp_path / "b", seed=2, model="minilm", **words, **failed())
    plan(tmp_path, *({"folder": name, "seed": seed, **words} for seed, name in enumerate("abc", 1)))
    (cell,) = collect([tmp_path]).cells
    assert (cell.teacher, cell.settings) == ("dense-none-minilm", {})
    assert (len(cell.rows), len(cell.failed), cell.missing) == (1, 1, [3])


def test_what_failed_after_a_good_training_is_told(tmp_path):
    put(tmp_path / "a", error="the export was refused")
    assert collect([tmp_path]).notes == [f"{tmp_path}/a has a good model, and after it: the export was refused"]


def test_a_dense_run_from_elsewhere_makes_no_setting_differ(tmp_path):
    put(tmp_path / "sweeps" / "s" / "a", settings={"recipe.num_epochs": "2"})
    put(tmp_path / "runs" / "sst2" / "dense-none-minilm" / "2026", **DENSE)
    assert [cell.settings for cell in collect([tmp_path / "sweeps" / "s"]).cells] == [{}, {}]


def test_a_dense_run_that_was_a_teacher_too_is_called_what_its_sweep_calls_it(tmp_path):
    settings = {"recipe.num_epochs": "2"}
    put(tmp_path / "runs" / "teacher", **DENSE, cell="aa")
    put(tmp_path / "sweeps" / "a", **DENSE, cell="aa", settings=settings)
    put(tmp_path / "sweeps" / "b", cell="bb", settings=settings)
    plan(tmp_path / "sweeps", {"folder": "a", **DENSE, "settings": settings}, {"folder": "b", "settings": settings})
    assert [cell.settings for cell in collect([tmp_path]).cells] == [{}, {}]
