import os

from tests.reports.runs import DENSE, failed, lines, plan, published, put
from winnow.reports.cells import Statistic
from winnow.reports.results import collect


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


def test_a_planned_folder_that_no_disk_can_hold_is_missing(tmp_path):
    plan(tmp_path, {"folder": "a" * 300})
    (cell,) = collect([tmp_path]).cells
    assert cell.missing == [1]


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


def test_published_figures_without_a_cell_are_lines_of_their_own(tmp_path):
    put(tmp_path / "a")
    plan(tmp_path, {"folder": "a"}, published=[published(recipe="prune90"), published(recipe="prune90", source="K")])
    cells = collect([tmp_path]).cells
    assert [(cell.recipe, len(cell.rows), len(cell.published)) for cell in cells] == [
        ("prune80", 1, 0),
        ("prune90", 0, 2),
    ]


def test_the_model_of_published_figures_is_called_as_ours_is(tmp_path):
    put(tmp_path / "a", model="neuralmagic/oBERT-12-upstream-pruned-unstructured-90-v2")
    plan(tmp_path, {"folder": "a"}, published=[published(model="obert_pruned90")])
    results = collect([tmp_path])
    assert results.cells[0].published[0].model == results.cells[0].model
    assert results.notes == []


def test_the_published_figures_of_two_sweeps_of_one_experiment_stand_once(tmp_path):
    for name in ("one", "two"):
        put(tmp_path / name / "a", recipe="prune80", seed=len(name))
        plan(tmp_path / name, {"folder": "a"}, published=[published()])
    assert [len(cell.published) for cell in collect([tmp_path]).cells] == [1]


def test_a_job_that_failed_before_its_configuration_stood_is_a_seed_of_its_line(tmp_path):
    words = {"teacher": "checkpoint", "settings": {"teacher.name": "/runs/dense-none-minilm"}}
    put(tmp_path / "a", cell="aa", **(words | {"teacher": "/runs/dense-none-minilm"}))
    put(tmp_path / "b", seed=2, model="minilm", **words, **failed())
    plan(tmp_path, *({"folder": name, "seed": seed, **words} for seed, name in enumerate("abc", 1)))
    (cell,) = collect([tmp_path]).cells
    assert (cell.teacher, cell.settings) == ("dense-none-minilm", {})
    assert (len(cell.rows), len(cell.failed), cell.missing) == (1, 1, [3])


def test_a_dense_run_that_was_a_teacher_too_is_called_what_its_sweep_calls_it(tmp_path):
    settings = {"recipe.num_epochs": "2"}
    put(tmp_path / "runs" / "teacher", **DENSE, cell="aa")
    put(tmp_path / "sweeps" / "a", **DENSE, cell="aa", settings=settings)
    put(tmp_path / "sweeps" / "b", cell="bb", settings=settings)
    plan(tmp_path / "sweeps", {"folder": "a", **DENSE, "settings": settings}, {"folder": "b", "settings": settings})
    assert [cell.settings for cell in collect([tmp_path]).cells] == [{}, {}]
