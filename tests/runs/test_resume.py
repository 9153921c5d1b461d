import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial

import pytest
import torch
from filelock import FileLock

from tests.soak.states import differences, training_state
from tests.toys import changed, failure, own_data, review_tables, run, run_command
from winnow.config.fingerprint import fingerprint
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.files.locks import is_running
from winnow.runs.resume import find_resumable
from winnow.runs.run_folder import recorded_run
from winnow.training.checkpoints import AtomicCheckpointIO
from winnow.training.trainer import BestCheckpoint

SETTINGS = ["recipe.num_epochs=2", "teacher=none", "trainer.checkpoint_every=2", "model.config.hidden_dropout_prob=0.1"]


class KilledError(Exception):
    pass


@pytest.fixture
def killed(place, monkeypatch):
    """Runs a command that ends at step 9 of 12 as if it were killed."""

    def kill(*arguments):
        def stop(self, trainer, *args):
            if trainer.global_step == 9:
                raise KilledError

        with monkeypatch.context() as patch:
            patch.setattr(BestCheckpoint, "on_train_batch_start", stop)
            with suppress(SystemExit):  # a failed job does not end a sweep
                train(place, *arguments)

    return kill


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    review_tables(folder / "data")
    return folder


def train(place, *arguments):
    multirun = [argument for argument in arguments if argument == "-m"]  # has to be the first
    rest = [argument for argument in arguments if argument != "-m"]
    return run("train", *multirun, *own_data(place / "data"), *SETTINGS, *rest, folder=place)


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def last(folder):
    return training_state(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True))


@pytest.fixture(scope="module")
def alone(place):
    train(place, "hydra.run.dir=alone")
    return place / "alone"


def test_the_run_in_the_named_folder_is_resumed(place, alone, killed):
    killed("hydra.run.dir=named")
    assert result_of(place / "named")["status"] == "failed"
    output = train(place, "hydra.run.dir=named", "resume=true")
    assert f"resume=true: the run in {place}/named resumes from last.ckpt" in output
    assert "Resumed at step 8 of 12." in output
    assert differences(last(place / "named"), last(alone)) == []
    row, expected = result_of(place / "named"), result_of(alone)
    assert (row["resumed"], expected["resumed"]) == (1, 0)
    assert (row["status"], row["metrics"], row["fingerprint"]) == ("ok", expected["metrics"], expected["fingerprint"])


def test_a_run_with_texts_without_labels_resumes_in_the_middle_of_an_epoch_with_equal_weights(place, monkeypatch):
    texts = place / "texts.txt"
    texts.write_text("the film is good\nthe end is bad\n" * 8)
    words = [*changed([*own_data(place / "data"), *SETTINGS], "teacher=self"), f"task.data.files.unlabeled={texts}"]
    words += ["recipe.distillation.hardness=0.5", "recipe.distillation.start_from_teacher=false"]

    def stop(self, trainer, *args):
        if trainer.global_step == 11:  # of 8 an epoch
            raise KilledError

    run("train", *words, "hydra.run.dir=texts", folder=place)
    with monkeypatch.context() as patch, suppress(SystemExit):
        patch.setattr(BestCheckpoint, "on_train_batch_start", stop)
        run("train", *words, "hydra.run.dir=texts_killed", folder=place)
    output = run("train", *words, "hydra.run.dir=texts_killed", "resume=true", folder=place)
    assert "Resumed at step 10 of 16." in output
    assert differences(last(place / "texts_killed"), last(place / "texts")) == []


def test_a_finished_run_is_not_repeated_but_its_summary_is_printed(place, alone):
    changed = (alone / "result.json").stat().st_mtime_ns
    output = train(place, "hydra.run.dir=alone", "resume=true")
    assert f"resume=true: the run in {place}/alone has finished" in output
    assert "again    python -m src.evaluate run=alone" in output
    assert (alone / "result.json").stat().st_mtime_ns == changed


def test_a_finished_run_makes_a_damaged_model_again_from_its_checkpoint(place, alone):
    damaged = shutil.copytree(alone, place / "damaged")
    weights = damaged / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    output = train(place, "hydra.run.dir=damaged", "resume=true")
    assert "model.safetensors is damaged" in output
    assert "Resumed at step 12 of 12." in output
    assert weights.read_bytes() == (alone / "model" / "model.safetensors").read_bytes()
    assert result_of(damaged)["metrics"] == result_of(alone)["metrics"]


def test_without_a_folder_the_newest_unfinished_match_is_resumed_and_no_empty_folder_stays(place, alone, killed):
    killed("output_dir=found", "seed=1")
    killed("output_dir=found", "seed=2")
    folders = set((place / "found").rglob("checkpoints"))
    assert len(folders) == 2
    output = train(place, "output_dir=found", "seed=1", "resume=true")
    assert re.search(r"resume=true: the run in found/.* resumes", output)
    assert set((place / "found").rglob("checkpoints")) == folders
    assert {path.parent for path in (place / "found").rglob(".hydra")} == {path.parent for path in folders}
    done = next(path.parent for path in folders if result_of(path.parent)["status"] == "ok")
    assert differences(last(done), last(alone)) == []
    assert "resume=true" in (done / ".hydra" / "overrides.yaml").read_text()
    changed = (done / "result.json").stat().st_mtime_ns
    assert f"the run in {done.relative_to(place)} has finished" in train(
        place, "output_dir=found", "seed=1", "resume=true"
    )
    assert (done / "result.json").stat().st_mtime_ns == changed


def test_without_a_checkpoint_the_run_starts_at_step_0_and_prints_it(place, alone):
    output = train(place, "hydra.run.dir=fresh", "resume=true")
    assert f"resume=true: {place}/fresh has no checkpoint, so this run starts at step 0." in output
    assert differences(last(place / "fresh"), last(alone)) == []


def test_a_folder_of_another_configuration_is_refused_with_the_differences(place, killed):
    killed("hydra.run.dir=other")
    arguments = [*own_data(place / "data"), *SETTINGS, "hydra.run.dir=other", "resume=true"]
    message = failure("train", *arguments, "seed=2", "recipe.pruning.final_sparsity=0.7", folder=place)
    assert "other holds another run" in message
    assert "seed is 1 there and 2 here" in message
    assert "recipe.pruning.final_sparsity is 0.8 there and 0.7 here" in message
    assert "num_epochs" not in message


def test_a_folder_of_a_run_on_other_data_is_refused(place, tmp_path, killed):
    data = review_tables(tmp_path / "data")
    killed(f"task.data.path={data}", "hydra.run.dir=data_before")
    review_tables(data, train=40)
    arguments = [*own_data(data), *SETTINGS, "hydra.run.dir=data_before", "resume=true"]
    assert "the content of its data or model files" in failure("train", *arguments, folder=place)


def test_without_resume_a_folder_is_started_anew(place, alone, killed):
    killed("hydra.run.dir=anew", "seed=3")
    train(place, "hydra.run.dir=anew")
    assert result_of(place / "anew")["resumed"] == 0
    assert differences(last(place / "anew"), last(alone)) == []


def test_a_dense_teacher_that_was_killed_is_resumed(place, killed):
    shared = ["teacher=dense", "output_dir=taught", "dense.num_epochs=2"]
    killed(*shared, "hydra.run.dir=taught/student")
    dense = next(path.parent for path in (place / "taught").rglob("checkpoints"))
    assert result_of(dense)["recipe"] == "dense"
    output = train(place, *shared, "hydra.run.dir=taught/student", "resume=true")
    assert "Resumed at step 8 of 12." in output
    assert (result_of(dense)["status"], result_of(dense)["resumed"]) == ("ok", 1)
    assert result_of(place / "taught" / "student")["resumed"] == 0
    train(place, *shared, "output_dir=left", "hydra.run.dir=left/student")
    assert differences(last(place / "taught" / "student"), last(place / "left" / "student")) == []


def test_a_masked_language_model_is_resumed_with_the_same_masks(place, tmp_path, killed):
    text = place / "train.txt"
    text.write_text("\n".join(f"the plot number {i} was {'not ' * (i % 3)}good" for i in range(48)))
    task = ["task=masked_lm", "task.data.path=null", f"task.data.files.train={text}", "task.line_by_line=true"]
    task += ["task.max_length=16", "task.data.validation_fraction=0.2"]
    train(place, *task, "hydra.run.dir=guesses")
    killed(*task, "hydra.run.dir=guesses_killed", "trainer.num_workers=2")
    train(place, *task, "hydra.run.dir=guesses_killed", "trainer.num_workers=1", "resume=true")
    assert differences(last(place / "guesses_killed"), last(place / "guesses")) == []


@pytest.mark.parametrize("named", [True, False])
def test_each_job_of_a_sweep_is_resumed_in_its_folder(place, killed, named):
    output_dir = f"swept_{named}"
    sweep = ["-m", "seed=1,2", f"output_dir={output_dir}", *([f"hydra.sweep.dir={output_dir}/sweep"] if named else [])]
    killed(*sweep)
    output = train(place, *sweep)
    assert output.count("Resumed at step 8 of 12.") == 2
    rows = [result_of(path.parent) for path in (place / output_dir).rglob("checkpoints")]
    assert sorted((row["seed"], row["status"], row["resumed"]) for row in rows) == [(1, "ok", 1), (2, "ok", 1)]


def unfinished(folder, configured, *overrides, age=0):
    """A run folder as a killed run leaves it behind."""
    config = configured(*overrides)
    with recorded_run(folder, config):
        pass
    (folder / "result.json").unlink()
    for name in ("last.ckpt", "previous.ckpt"):
        path = folder / "checkpoints" / name
        AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
        os.utime(path, (1e9 - age, 1e9 - age))
    return fingerprint(config)


def test_the_newest_intact_run_that_is_neither_finished_nor_running_is_found(tmp_path, configured, monkeypatch):
    monkeypatch.setattr("winnow.files.locks._SECONDS_TO_DIE", 0.1)
    monkeypatch.setattr("winnow.runs.resume.is_running", partial(is_running, patience=0.1))
    wanted = {unfinished(tmp_path / name, configured, age=age) for age, name in enumerate("abcde")}.pop()
    unfinished(tmp_path / "other", configured, "seed=9", age=-9)
    assert find_resumable(tmp_path, wanted) == tmp_path / "a"
    (tmp_path / "a" / "result.json").write_text('{"status": "ok"}')
    assert find_resumable(tmp_path, wanted) == tmp_path / "b"
    assert find_resumable(tmp_path, wanted, finished=True) == tmp_path / "b"  # the model of the newer one was removed
    (tmp_path / "a" / "model").mkdir()
    (tmp_path / "a" / "model" / "config.json").touch()
    assert find_resumable(tmp_path, wanted, finished=True) == tmp_path / "a"
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / "b" / "checkpoints" / name).write_bytes(b"PK")
    assert find_resumable(tmp_path, wanted) == tmp_path / "c"
    (tmp_path / "c" / "checkpoints" / "last.ckpt").write_bytes(b"PK")
    (tmp_path / "c" / "result.json").write_text('{"status": "failed"}')
    assert find_resumable(tmp_path, wanted) == tmp_path / "c"
    with FileLock(tmp_path / "c" / ".hydra" / "lock"):
        assert find_resumable(tmp_path, wanted) == tmp_path / "d"
        with (
            pytest.raises(UserError, match=r"another command runs in this folder"),
            recorded_run(tmp_path / "c", configured()),
        ):
            pass
    assert find_resumable(tmp_path, "nothing") is None


@pytest.mark.parametrize("parallel", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_stopped_by_sigterm_exits_with_status_75_and_prints_how_to_resume(place, alone, tmp_path, parallel):
    command = [*own_data(place / "data"), *SETTINGS, "trainer.num_workers=2", f"hydra.run.dir={tmp_path}/run"]
    command += ["recipe.num_epochs=15", *(["trainer=ddp", "trainer.devices=2"] if parallel else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "src.train", *command], cwd=CONF.parent, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)  # loader processes too
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    step = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert re.search(rf"stopped by SIGTERM at step {step} of \d+, which is saved; resume with: .*resume=true", said)
    assert said.count("stopped by SIGTERM") == 1
    row = result_of(tmp_path / "run")
    assert row["status"] == "failed"
    assert f"stopped by SIGTERM at step {step}" in row["error"]
    if parallel:
        ended = run_command("train", *command, "resume=true")
        assert ended.returncode == 0, ended.stderr
        output = ended.stdout
    else:
        output = run("train", *changed(command, "trainer.num_workers=0", "resume=true"), folder=tmp_path)
    assert f"Resumed at step {step} of" in output
