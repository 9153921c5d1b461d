import json

import pytest

from tests.toys import failure, own_data, review_tables, run_command
from winnow.errors import UserError
from winnow.files.locks import BusyError, run_lock
from winnow.runs.subprocess_run import run_in_subprocess

DDP = ["trainer=ddp", "trainer.devices=2"]
PRUNED = ["recipe=oneshot80", "teacher=dense", "recipe.num_epochs=1", "dense.num_epochs=1"]


@pytest.fixture
def words(tmp_path):
    return [*own_data(review_tables(tmp_path / "data")), *PRUNED, *DDP]


def test_a_data_parallel_run_asks_for_its_teacher_by_a_command_without_its_recipe(tmp_path, words, monkeypatch):
    asked = []

    def note(folder, typed):
        asked.append(typed)
        raise UserError("asked")

    monkeypatch.setattr("winnow.runs.training_run.run_in_subprocess", note)
    dropped = ["recipe.pruning.final_sparsity=0.5", "export=none", "+modifier@recipe.frozen=frozen",
               "recipe.frozen.params=[.*embeddings.*]", "hydra.run.dir=student"]  # fmt: skip
    assert "asked" in failure("train", *words, *dropped, folder=tmp_path)
    kept = [word for word in words if not word.startswith(("recipe", "teacher"))]
    assert asked == [[*kept, "recipe=dense", "teacher=none"]]


def test_a_run_of_processes_that_were_started_from_outside_says_what_to_train_first(tmp_path, words, monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("LOCAL_RANK", "0"), ("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert "run the same command with recipe=dense first" in failure("train", *words, folder=tmp_path)


def test_a_group_of_processes_that_has_outlived_its_sweep_is_left_to_its_work(tmp_path, monkeypatch):
    monkeypatch.setattr("winnow.files.locks._SECONDS_TO_DIE", 0.05)
    with run_lock(tmp_path), pytest.raises(BusyError, match="another command runs in this folder"):
        run_in_subprocess(tmp_path, [])


@pytest.mark.slow
def test_two_processes_train_a_dense_teacher_and_then_its_student(tmp_path, words):
    ended = run_command("train", *words, f"hydra.run.dir={tmp_path / 'student'}", f"output_dir={tmp_path}")
    assert ended.returncode == 0, ended.stderr
    (dense,) = (tmp_path / "runs").glob("**/result.json")
    assert json.loads(dense.read_text())["recipe"] == "dense"
    assert json.loads((tmp_path / "student" / "result.json").read_text())["teacher"] == "dense"
