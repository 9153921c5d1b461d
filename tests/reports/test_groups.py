import os

from tests.reports.runs import DENSE, failed, lines, plan, published, put
from winnow.reports.results import collect


def test_seeds_of_one_configuration_are_one_group(tmp_path):
    for seed, accuracy in ((2, 0.86), (1, 0.88)):
        put(tmp_path / f"{seed}", seed=seed, cell="aa", metrics={"accuracy": accuracy})
    put(tmp_path / "other", recipe="prune90", cell="bb")
    found = lines(tmp_path)
    assert list(found) == ["prune80, dense", "prune90, dense"]
    assert [row.seed for row in found["prune80, dense"].runs] == [1, 2]
    assert found["prune80, dense"].values("accuracy") == (0.88, 0.86)
    assert found["prune80, dense"].shown_settings == {}


def test_groups_are_sorted_by_task_with_dense_ones_first(tmp_path):
    put(tmp_path / "a")
    put(tmp_path / "b", task="qqp")
    put(tmp_path / "c", **DENSE)
    put(tmp_path / "d", task="qqp", teacher="none")
    groups = collect([tmp_path]).groups
    assert [(group.task, group.label) for group in groups] == [
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
    assert results.groups[0].values("accuracy") == (1.0,)
    assert results.left_out == [f"{tmp_path}/old: a newer run of the same configuration and seed is used instead."]


def test_a_seed_that_failed_and_was_run_again_counts_as_good(tmp_path):
    put(tmp_path / "a", **failed())
    put(tmp_path / "b")
    (group,) = collect([tmp_path]).groups
    assert (len(group.runs), group.failed) == (1, [])


def test_failed_and_missing_seeds_are_reported(tmp_path):
    put(tmp_path / "s" / "a")
    put(tmp_path / "s" / "b", seed=2, **failed("out of\n memory"))
    plan(tmp_path / "s", *({"folder": name, "seed": seed} for seed, name in enumerate("abcd", 1)))
    results = collect([tmp_path])
    (group,) = results.groups
    assert [row.seed for row in group.runs] == [1]
    assert [(run.seed, run.error) for run in group.failed] == [(2, "out of memory")]
    assert [run.seed for run in group.missing] == [3, 4]
    assert results.notes == [f"3 of 4 runs of {tmp_path}/s have not succeeded; to run them: python -m src.train -m ..."]


def test_a_planned_folder_that_no_disk_can_hold_is_missing(tmp_path):
    plan(tmp_path, {"folder": "a" * 300})
    (group,) = collect([tmp_path]).groups
    assert [run.seed for run in group.missing] == [1]


def test_a_planned_configuration_without_any_result_is_a_group(tmp_path):
    put(tmp_path / "a")
    jobs = [{"folder": "b", "recipe": "prune90"}, {"folder": "a"}, {"folder": "c", "recipe": "prune95"}]
    plan(tmp_path, *jobs)
    found = lines(tmp_path)
    assert {label: [run.seed for run in group.missing] for label, group in found.items()} == {
        "prune90, dense": [1],
        "prune80, dense": [],
        "prune95, dense": [1],
    }
    assert list(found) == ["prune90, dense", "prune80, dense", "prune95, dense"]
    assert found["prune90, dense"].metrics == []
    assert found["prune90, dense"].values("sparsity") == ()


def test_a_planned_seed_that_another_sweep_has_run_is_not_missing(tmp_path):
    put(tmp_path / "one" / "a", cell="aa")
    put(tmp_path / "two" / "b", cell="aa", seed=2)
    plan(tmp_path / "two", {"folder": "a"}, {"folder": "b", "seed": 2})
    (group,) = collect([tmp_path]).groups
    assert (len(group.runs), group.missing) == (2, [])


def test_published_figures_belong_to_the_group_of_their_names(tmp_path):
    put(tmp_path / "a")
    plan(tmp_path, {"folder": "a"}, published=[published(note="soft"), published(source="Kurtic")])
    results = collect([tmp_path])
    (group,) = results.groups
    assert [(row.source, row.model) for row in group.published] == [
        ("Sanh, soft", "bert-base-uncased"),
        ("Kurtic", "bert-base-uncased"),
    ]
    assert results.notes == [
        "The published figures are for bert-base-uncased on all of sst2; the runs here use minilm."
    ]


def test_published_figures_without_a_group_are_a_group(tmp_path):
    put(tmp_path / "a")
    plan(tmp_path, {"folder": "a"}, published=[published(recipe="prune90"), published(recipe="prune90", source="K")])
    groups = collect([tmp_path]).groups
    assert [(group.recipe, len(group.runs), len(group.published)) for group in groups] == [
        ("prune80", 1, 0),
        ("prune90", 0, 2),
    ]


def test_the_model_of_published_figures_has_the_label_of_our_runs(tmp_path):
    put(tmp_path / "a", model="neuralmagic/oBERT-12-upstream-pruned-unstructured-90-v2")
    plan(tmp_path, {"folder": "a"}, published=[published(model="obert_pruned90")])
    results = collect([tmp_path])
    assert results.groups[0].published[0].model == results.groups[0].model
    assert results.notes == []


def test_published_figures_that_two_sweeps_repeat_are_shown_once(tmp_path):
    for name in ("one", "two"):
        put(tmp_path / name / "a", recipe="prune80", seed=len(name))
        plan(tmp_path / name, {"folder": "a"}, published=[published()])
    assert [len(group.published) for group in collect([tmp_path]).groups] == [1]


def test_a_job_that_failed_before_it_had_a_fingerprint_is_a_seed_of_its_group(tmp_path):
    words = {"teacher": "checkpoint", "settings": {"teacher.name": "/runs/dense-none-minilm"}}
    put(tmp_path / "a", cell="aa", **(words | {"teacher": "/runs/dense-none-minilm"}))
    put(tmp_path / "b", seed=2, model="minilm", **words, **failed())
    plan(tmp_path, *({"folder": name, "seed": seed, **words} for seed, name in enumerate("abc", 1)))
    (group,) = collect([tmp_path]).groups
    assert (group.teacher, group.shown_settings) == ("dense-none-minilm", {})
    assert (len(group.runs), len(group.failed), [run.seed for run in group.missing]) == (1, 1, [3])


def test_a_dense_run_that_was_a_teacher_too_has_the_settings_of_its_sweep(tmp_path):
    settings = {"recipe.num_epochs": "2"}
    put(tmp_path / "runs" / "teacher", **DENSE, cell="aa")
    put(tmp_path / "sweeps" / "a", **DENSE, cell="aa", settings=settings)
    put(tmp_path / "sweeps" / "b", cell="bb", settings=settings)
    plan(tmp_path / "sweeps", {"folder": "a", **DENSE, "settings": settings}, {"folder": "b", "settings": settings})
    assert [group.shown_settings for group in collect([tmp_path]).groups] == [{}, {}]
