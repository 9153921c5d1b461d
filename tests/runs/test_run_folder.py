import json
import os
from contextlib import suppress

import pytest

from winnow.config.fingerprint import fingerprint
from winnow.config.run import saved_config
from winnow.errors import UserError
from winnow.files.checksums import write_sums
from winnow.files.locks import BusyError
from winnow.files.run_files import FINGERPRINT, ended_well, read_result
from winnow.runs.run_folder import find_run, new_run_folder, recorded_run, take_over


def finished(folder, *, status="ok", wanted="abc", age=0, model=True):
    """A folder like that of a finished run."""
    (folder / "model").mkdir(parents=True)
    if model:
        (folder / "model" / "config.json").write_text("{}")
    path = folder / "result.json"
    path.write_text(json.dumps({"status": status, "fingerprint": wanted}))
    os.utime(path, (1e9 - age, 1e9 - age))
    return folder


def test_a_run_that_ends_well_is_recorded_as_ok(configured, tmp_path):
    config = configured()
    with recorded_run(tmp_path / "run", config) as row:
        assert not (tmp_path / "run" / "result.json").exists()
        row["metrics"] = {"accuracy": 0.5}
    result = read_result(tmp_path / "run")
    assert (result["status"], result["error"], result["metrics"]) == ("ok", None, {"accuracy": 0.5})
    assert result["fingerprint"] == fingerprint(config)
    assert saved_config(tmp_path / "run") == config


@pytest.mark.parametrize("error", [UserError("no data"), RuntimeError("boom"), KeyboardInterrupt()])
def test_a_run_that_fails_is_recorded_as_failed_and_the_error_is_raised(configured, tmp_path, error):
    with pytest.raises(type(error)), recorded_run(tmp_path, configured()):
        raise error
    result = read_result(tmp_path)
    assert result["status"] == "failed"
    assert result["error"]


def test_checkpoints_are_removed_only_after_a_successful_run_with_keep_checkpoints_false(configured, tmp_path):
    def left(name, *words, error=None):
        with suppress(RuntimeError), recorded_run(tmp_path / name, configured(*words)):
            (tmp_path / name / "checkpoints").mkdir()
            (tmp_path / name / "checkpoints" / "last.ckpt").touch()
            if error:
                raise error
        return (tmp_path / name / "checkpoints" / "last.ckpt").exists()

    assert left("kept")
    assert not left("small", "trainer.keep_checkpoints=false")
    assert left("failed", "trainer.keep_checkpoints=false", error=RuntimeError("boom"))


def test_a_run_that_another_command_finished_meanwhile_is_not_repeated(configured, tmp_path):
    for _ in range(2):  # without resume=true it begins anew
        with recorded_run(tmp_path, configured()):
            pass
    with pytest.raises(BusyError, match="has just ended"), recorded_run(tmp_path, configured("resume=true")):
        pass
    assert ended_well(tmp_path)


def test_a_folder_that_takes_a_run_over_has_all_its_files_but_the_record_of_the_command(configured, tmp_path):
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "overrides.yaml").write_text(f"[seed={seed}]")
        with recorded_run(folder, configured(f"seed={seed}")):
            pass
    take_over(tmp_path / "2", tmp_path / "1")
    assert read_result(tmp_path / "1") == read_result(tmp_path / "2")
    assert (tmp_path / "1" / FINGERPRINT).read_text() == read_result(tmp_path / "2")["fingerprint"]
    assert saved_config(tmp_path / "1").seed == 2
    assert (tmp_path / "1" / ".hydra" / "overrides.yaml").read_text() == "[seed=1]"


def test_the_teacher_of_a_checkpoint_is_recorded_by_its_name(configured, tmp_path):
    with recorded_run(tmp_path, configured("teacher=checkpoint", "teacher.name=someone/model")) as row:
        assert row["teacher"] == "someone/model"


def test_the_newest_successful_run_with_the_fingerprint_is_found(tmp_path):
    finished(tmp_path / "old", age=100)
    newest = finished(tmp_path / "deep" / "er" / "new", age=10)
    finished(tmp_path / "failed", status="failed")
    finished(tmp_path / "other", wanted="xyz")
    finished(tmp_path / "no model", model=False)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "result.json").write_text('{"status": "o')
    assert find_run(tmp_path, "abc") == newest
    assert find_run(tmp_path, "nothing") is None
    assert find_run(tmp_path / "nowhere", "abc") is None


def test_a_run_with_a_damaged_model_is_not_found_but_named(tmp_path, capsys):
    older, newest = finished(tmp_path / "older", age=100), finished(tmp_path / "newest", age=10)
    for folder in (older, newest):
        write_sums(folder / "model")
    (newest / "model" / "config.json").unlink()
    assert find_run(tmp_path, "abc") == older
    (note,) = capsys.readouterr().out.splitlines()
    assert note.startswith(f"note: {newest} is not used: {newest}/model/config.json is missing")
    assert note.endswith(f"with resume=true hydra.run.dir={newest} makes the model again.")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, r"run=.*: there is no such folder"),
        (lambda folder: folder.mkdir(), r"run=.*: there is no result\.json, so no run has ended here"),
        (lambda folder: (folder.mkdir(), (folder / "result.json").write_text("{")), r"result\.json is damaged"),
    ],
)
def test_a_folder_without_a_finished_run_is_refused(tmp_path, prepare, message):
    prepare(tmp_path / "run")
    with pytest.raises(UserError, match=message):
        read_result(tmp_path / "run")


def test_a_run_goes_to_the_folder_of_its_task_recipe_teacher_and_model(configured):
    folder = new_run_folder(configured("task=sst2", "recipe=dense", "output_dir=somewhere"))
    assert str(folder.parent) == "somewhere/runs/sst2/dense-none-bert-base-uncased"
