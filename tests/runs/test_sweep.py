"""Sweeps: folders, jobs that run again, failures, and the shared dense run."""

import json
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import winnow.commands.train
import winnow.runs.training_run
from tests.toys import failure, own_data, review_tables, run, run_command
from winnow.files.atomic import write_atomically
from winnow.files.checksums import write_sums
from winnow.files.locks import run_lock
from winnow.files.run_files import is_good
from winnow.models.teacher import Teacher

FAST = ["recipe.num_epochs=1", "dense.num_epochs=1", "trainer.progress_bar=false"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps")
    review_tables(folder / "data")
    return folder


@pytest.fixture
def trained(monkeypatch):
    """Recipe, teacher and seed of each training, in order; trainings are replaced by a function without work."""
    trainings = []

    def train(config, folder, *args):
        trainings.append((config.recipe.name, config.teacher.kind, config.seed))
        write_atomically(folder / "model" / "config.json", "{}")
        return {"metrics": {"accuracy": config.seed / 10}, "sparsity": 0.8, "parameters": 1, "train_seconds": 1.0,
                "nonzero_parameters": 1}  # fmt: skip

    monkeypatch.setattr(winnow.runs.training_run, "prepare", lambda config, folder, stored: None)
    monkeypatch.setattr(winnow.runs.training_run, "train", train)
    return trainings


def sweep(place, *arguments):
    return run("train", "-m", *own_data(place / "data"), *FAST, *arguments, folder=place)


def rows(folder: Path):
    return {path.parent.name: json.loads(path.read_text()) for path in folder.rglob("sweeps/**/result.json")}


def test_a_plan_keeps_the_earlier_commands_whose_runs_it_does_not_have_all(place, trained):
    def commands(*words):
        sweep(place, "recipe=oneshot80", "teacher=none", "output_dir=earlier", *words)
        (path,) = (place / "earlier").rglob("sweep.json")
        content = json.loads(path.read_text())
        return [command.rpartition(" ")[2] for command in content["earlier"]], len(content["jobs"])

    assert commands("seed=1,2") == ([], 2)
    assert commands("seed=1,2") == ([], 2)
    assert commands("seed=1") == (["seed=1,2"], 1)
    assert commands("seed=2") == (["seed=1,2", "seed=1"], 1)
    assert commands("seed=2,1") == ([], 2)


def test_a_sweep_that_is_started_again_runs_only_jobs_without_a_good_row_and_accepts_more_seeds(place, trained):
    arguments = ["recipe=oneshot80", "teacher=none", "output_dir=again"]
    sweep(place, *arguments, "seed=1,2")
    first = rows(place / "again")
    assert all(is_good(row) for row in first.values())
    next((place / "again").rglob("*seed2*/result.json")).write_text('{"status": "o')
    output = sweep(place, *arguments, "seed=1,2,3")
    assert [seed for _, _, seed in trained] == [1, 2, 2, 3]
    assert "1 of 3 done" in output
    assert output.rstrip().endswith("3 of 3 done")
    again = rows(place / "again")
    assert len(again) == 3
    assert {name: again[name]["metrics"] for name in first} == {name: row["metrics"] for name, row in first.items()}


def test_a_job_whose_model_is_damaged_makes_it_again(place, trained):
    arguments = ["recipe=oneshot80", "teacher=none", "seed=1,2", "output_dir=damaged"]
    sweep(place, *arguments)
    for folder in (place / "damaged").rglob("model"):
        write_sums(folder)
    (config,) = (place / "damaged").rglob("*seed2*/model/config.json")
    config.write_text("{}\n")
    output = sweep(place, *arguments)
    assert f"{config} is damaged" in output
    assert [seed for _, _, seed in trained] == [1, 2, 2]
    assert all(is_good(row) for row in rows(place / "damaged").values())


def test_the_plan_of_a_sweep_lists_each_job_once(place, trained):
    sweep(place, "recipe=oneshot80", "teacher=none,none", "seed=1", "output_dir=planned")
    (plan,) = (place / "planned").rglob("sweep.json")
    (job,) = json.loads(plan.read_text())["jobs"]
    assert {word: job[word] for word in ("task", "recipe", "teacher", "seed", "model", "num_epochs")} == {
        "task": "text_classification", "recipe": "oneshot80", "teacher": "none", "seed": 1, "model": "tiny",
        "num_epochs": 1,
    }  # fmt: skip
    assert (plan.parent / job["folder"] / "result.json").is_file()
    assert job["settings"]["recipe.num_epochs"] == "1"


@pytest.mark.parametrize(
    ("recipes", "teachers"),
    [
        ("dense,oneshot80", "none,dense"),  # a job before it is a teacher
        ("oneshot80,dense", "dense,none"),  # a teacher before it is a job
    ],
)
def test_a_dense_run_that_is_both_a_job_and_a_teacher_is_trained_once(place, trained, recipes, teachers):
    output_dir = f"{recipes}_{teachers}".replace(",", "_")
    sweep(place, f"recipe={recipes}", f"teacher={teachers}", "seed=1", f"output_dir={output_dir}")
    assert sorted(trained) == [
        ("dense", "dense", 1),
        ("dense", "none", 1),
        ("oneshot80", "dense", 1),
        ("oneshot80", "none", 1),
    ]
    found = rows(place / output_dir)
    assert len(found) == 4
    assert all(is_good(row) for row in found.values())
    assert len(list((place / output_dir).rglob("sweeps/**/*-dense-none-*/model/config.json"))) == 1


def finish(folder, name):
    """The run of a folder, as another command ends it."""
    write_atomically(folder / ".hydra" / "fingerprint", name)
    write_atomically(folder / "model" / "config.json", "{}")
    write_atomically(folder / "result.json", json.dumps({"status": "ok", "fingerprint": name, "metrics": {}}))


def test_a_dense_run_that_another_job_trained_in_the_folder_meanwhile_is_kept(place, trained, monkeypatch):
    @contextmanager
    def waited_for(output_dir, name, waiting=""):
        for folder in Path(output_dir).glob("sweeps/*/*-dense-*"):
            finish(folder, name)
        yield

    monkeypatch.setattr(winnow.commands.train, "named_lock", waited_for)
    sweep(place, "recipe=dense", "teacher=none", "output_dir=waited")
    assert trained == []
    assert list((place / "waited").rglob("*-dense-*/model/config.json"))


def test_jobs_that_another_command_runs_end_before_the_report(place, trained, monkeypatch):
    sweep(place, "recipe=oneshot80", "teacher=none", "output_dir=shared")
    (path,) = (place / "shared").rglob("result.json")
    name = json.loads(path.read_text())["fingerprint"]
    path.unlink()
    monkeypatch.setattr("winnow.files.locks._SECONDS_TO_DIE", 0)
    with ExitStack() as other:
        other.enter_context(run_lock(path.parent))
        monkeypatch.setattr(
            "winnow.commands.sweep.time.sleep", lambda seconds: (finish(path.parent, name), other.close())
        )
        said = sweep(place, "recipe=oneshot80", "teacher=none", "output_dir=shared")
    assert "another command runs in this folder" in said
    assert "sweep: another command runs oneshot80, teacher none, seed 1; waiting for it." in said
    assert said.endswith("sweep: 1 of 1 done\n")
    assert len(trained) == 1


def test_a_sweep_answers_for_its_own_jobs_while_another_command_plans_others_in_its_folder(place, trained, monkeypatch):
    def planned_anew(config, folder, stored):
        plan = json.loads((folder.parent / "sweep.json").read_text())
        other = {**plan["jobs"][0], "folder": "of-the-other", "seed": 9}
        write_atomically(folder.parent / "sweep.json", json.dumps({**plan, "jobs": [other]}))

    monkeypatch.setattr(winnow.runs.training_run, "prepare", planned_anew)
    said = sweep(place, "recipe=oneshot80", "teacher=none", "seed=1,2", "output_dir=both")
    assert said.endswith("sweep: 2 of 2 done\n")


def test_jobs_beside_others_begin_their_lines_with_their_titles(place, monkeypatch):
    monkeypatch.setattr(winnow.commands.train, "runs_beside_others", lambda hydra_config: True)
    said = sweep(place, "recipe=oneshot80", "teacher=dense", "seed=2", "output_dir=titles")
    assert "\noneshot80, teacher dense, seed 2  epoch 1.0 of 1" in said
    assert "\ndense teacher of oneshot80, teacher dense, seed 2  epoch 1.0 of 1" in said


def test_an_error_that_all_jobs_have_is_printed_once_before_any_runs(place, trained):
    arguments = [*own_data(place / "data"), *FAST, "recipe.pruning.final_sparsity=80", "seed=1,2", "output_dir=wrong"]
    message = failure("train", "-m", *arguments, "recipe=oneshot80", folder=place)
    assert message.startswith("error: recipe.pruning.final_sparsity must be in [0, 1), got 80")
    assert not trained
    assert not list((place / "wrong").rglob("result.json"))


def test_the_values_of_a_sweep_may_be_a_pattern_and_a_range(place, trained):
    def jobs(*words):
        trained.clear()
        sweep(place, "output_dir=patterns", "teacher=none", *words)
        return trained.copy()

    assert jobs("recipe=glob(oneshot97*)", "seed=range(1,3)") == [("oneshot97", "none", 1), ("oneshot97", "none", 2)]
    assert jobs("recipe=oneshot97", "seed=1,2") == []  # the same sweep
    message = failure("train", "-m", *own_data(place / "data"), "recipe=glob(nothing*)", "teacher=none", folder=place)
    assert message.startswith("error: recipe=glob(nothing*) matches no recipe. There are ")


def test_two_jobs_in_one_folder_are_refused(place, trained):
    names = "hydra.sweep.subdir=one"
    arguments = [*own_data(place / "data"), *FAST, "recipe=oneshot80", "teacher=none", "output_dir=one", names]
    message = failure("train", "-m", *arguments, "seed=1,2", folder=place)
    assert message.startswith("error: seed=1 and seed=2 would run in one folder, one;")
    assert not trained
    run("train", "-m", *arguments[:-1], "seed=1,2", "hydra.sweep.subdir=${hydra.job.num}", folder=place)
    assert sorted(rows(place / "one")) == ["0", "1"]


def test_a_sweep_continues_after_a_job_with_a_wrong_value(place, trained):
    arguments = [*own_data(place / "data"), *FAST, "recipe=oneshot80", "teacher=none", "output_dir=continued"]
    sparsities = "recipe.pruning.final_sparsity=0.5,95,0.75"
    message = failure("train", "-m", *arguments, sparsities, folder=place)
    assert message == "error: 1 of 3 jobs have not succeeded; the same command repeats them."
    (failed,) = (row for row in rows(place / "continued").values() if not is_good(row))
    assert "final_sparsity must be in [0, 1), got 95" in failed["error"]
    assert len(trained) == 2


def test_a_job_that_fails_before_its_training_has_a_row_with_the_error(place):
    arguments = [*own_data(place / "data"), *FAST, "recipe=oneshot80,layers9", "teacher=none", "output_dir=short"]
    failure("train", "-m", *arguments, folder=place)
    failed = [row for row in rows(place / "short").values() if row["status"] == "failed"]
    assert [(row["recipe"], row["seed"]) for row in failed] == [("layers9", 1)]
    assert "9" in failed[0]["error"]
    (path,) = (place / "short").rglob("*-layers9-*/result.json")
    path.write_text("[1]")  # what another has left there is no row
    failure("train", "-m", *arguments, folder=place)
    assert json.loads(path.read_text())["error"] == failed[0]["error"]


def test_a_run_on_other_data_in_the_folder_of_a_job_is_replaced(place, trained):
    review_tables(place / "changing", train=40)
    arguments = [*FAST, "recipe=oneshot80", "teacher=none", "seed=1,2", "output_dir=other"]
    for _ in range(2):
        run("train", "-m", *own_data(place / "changing"), *arguments, folder=place)
        review_tables(place / "changing", train=48)
    assert len(trained) == 4


def test_an_experiment_is_refused_as_a_single_run(place):
    message = failure("train", "experiment=squad_layers", "seed=1", folder=place)
    assert message == (
        "error: an experiment is a sweep over recipe, teacher: add -m after 'python -m src.train', or choose one of "
        "each."
    )


def test_a_recipe_that_does_not_exist_ends_a_sweep_before_its_first_job(place):
    ended = run_command("train", "-m", "recipe=dense,prune8O", f"output_dir={place / 'mistyped'}")
    assert ended.returncode == 1
    assert "recipe=prune8O: there is no such recipe. Did you mean 'prune80'? There are acdc<N>, " in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not list((place / "mistyped").rglob("sweep.json"))


def test_the_job_that_does_not_have_a_setting_is_named(place):
    overrides = ["recipe=prune80,dense", "teacher=none", "recipe.pruning.final_sparsity=0.8"]
    message = failure("train", "-m", *overrides, folder=place)
    assert message.startswith("error: the job recipe=dense teacher=none recipe.pruning.final_sparsity=0.8 cannot run: ")
    assert "recipe.pruning is not a setting" in message


def test_over_four_runs_a_teacher_is_trained_once_and_reads_the_training_data_once(place, monkeypatch):
    dense, read = [], []
    train, forward = winnow.runs.training_run.train, Teacher.forward

    def counted_train(config, *args):
        dense.extend([config.seed] * (config.recipe.name == "dense"))
        return train(config, *args)

    def counted_forward(teacher, **inputs):
        read.extend(inputs["input_ids"])
        return forward(teacher, **inputs)

    monkeypatch.setattr(winnow.runs.training_run, "train", counted_train)
    monkeypatch.setattr(Teacher, "forward", counted_forward)
    sparsities = "recipe.pruning.final_sparsity=0.5,0.7"
    sweep(place, "recipe=oneshot80,oneshot90", "teacher=dense", sparsities, "seed=1", "output_dir=four")
    assert len(rows(place / "four")) == 4
    assert dense == [1]
    assert len(read) == 48  # as many as there are examples
    assert {row["teacher_outputs"] for row in rows(place / "four").values()} == {"stored"}
