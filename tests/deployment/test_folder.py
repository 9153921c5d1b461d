import json
import shutil

import pytest

from tests.deployed import INPUTS, deploy
from winnow.deployment.choice import open_deployed
from winnow.deployment.folder import find_deployment, read_deployment
from winnow.errors import UserError
from winnow.files.checksums import write_sums

LABELS = ["negative", "positive"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return deploy(tmp_path_factory.mktemp("folder") / "run" / "deployment", "text_classification", LABELS)


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run" / "deployment")


def change(folder, **ours):
    config = json.loads((folder / "config.json").read_text())
    config["winnow"] |= ours
    (folder / "config.json").write_text(json.dumps(config))
    return config["winnow"]


def changed_task(folder, **settings):
    return change(folder, task={**change(folder)["task"], **settings})


def test_a_folder_says_what_its_graph_is_for(folder):
    deployment = read_deployment(folder)
    assert deployment.folder == folder
    assert deployment.task.name == "text_classification"
    assert deployment.task.labels == deployment.labels == LABELS
    assert (deployment.inputs, deployment.outputs) == (INPUTS, ["logits"])
    assert (deployment.precision, deployment.batch_size, deployment.sequence_length) == ("float32", None, None)
    assert deployment.tokenizer.model_max_length == 64  # the positions of the model, not the 128 of the tokenizer


def test_a_run_stands_for_its_deployment(folder):
    assert find_deployment(folder.parent) == folder


def test_a_fixed_length_cuts_the_texts(folder):
    change(folder, batch_size=4, sequence_length=32)
    deployment = read_deployment(folder)
    assert (deployment.batch_size, deployment.task.max_length) == (4, 32)


def test_settings_that_came_after_the_folder_have_their_defaults(folder):
    task = change(folder)["task"]
    del task["multi_label"], task["data"]["label_separator"]
    change(folder, task=task)
    assert read_deployment(folder).task.multi_label is False


def test_a_run_that_is_not_exported_is_answered_with_the_command(folder):
    shutil.rmtree(folder)
    run = folder.parent
    (run / "result.json").write_text("{}")
    (run / "model").mkdir()
    for place in (run, run / "model"):
        with pytest.raises(UserError, match=f"there is no model.onnx; make it with python -m src.export run={run}"):
            read_deployment(place)


def test_a_folder_that_is_not_there_is_refused_with_the_nearest(folder):
    with pytest.raises(UserError, match=r"there is no such folder. Did you mean 'deployment'"):
        read_deployment(folder.parent / "deploymant")


def test_a_damaged_file_is_refused_where_it_is_read(folder):
    (folder / "README.md").touch()
    write_sums(folder)
    (folder / "README.md").write_text("notes")
    assert open_deployed(read_deployment(folder).folder, "onnxruntime").outputs == ["logits"]
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\n")
    read_deployment(folder)
    with pytest.raises(UserError, match=r"model\.onnx is damaged.*export the run again"):
        open_deployed(folder, "onnxruntime")
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer_config\.json is missing.*export the run again"):
        read_deployment(folder)


@pytest.mark.parametrize("name", ["model.onnx", "config.json", "tokenizer.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"there is no (tokenizer, such as )?{name}"):
        read_deployment(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "config.json is damaged"),
        ("config.json", "{}", "does not say what the model is for"),
        ("config.json", '{"model_type": "bert"}', "does not say what the model is for"),
        ("tokenizer.json", "{", "the tokenizer could not be read"),
    ],
)
def test_a_damaged_file_is_named(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=message) as refused:
        read_deployment(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("target", ["os.system", "winnow.tasks.task.Task", "builtins.eval", None, 5])
def test_only_tasks_of_the_project_are_built(folder, target):
    changed_task(folder, _target_=target)
    with pytest.raises(UserError, match=r"config\.json: winnow\.task\._target_"):
        read_deployment(folder)


def test_what_is_nested_in_a_task_is_data_and_never_built(folder, tmp_path):
    planted = {"_target_": "pathlib.Path.touch", "_args_": [str(tmp_path / "planted")]}
    for name in (planted, "${oc.env:HOME}"):
        changed_task(folder, name=name, metrics=["accuracy"])
        with pytest.raises(UserError, match=r"winnow\.task\.name must be a name of letters, digits"):
            read_deployment(folder)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_lenght": 5}, "winnow.task.max_lenght is not a setting; .* Did you mean 'max_length'"),
        ({"max_length": "long"}, "winnow.task.max_length must be a whole number"),
        ({"data": None}, "the section of this project cannot be read"),
        ({"metrics": 5}, "winnow.task.metrics must be a text or a list of texts, got 5"),
    ],
)
def test_an_invalid_task_is_refused_with_the_file(folder, settings, message):
    changed_task(folder, **settings)
    with pytest.raises(UserError, match=rf"config\.json: {message}"):
        read_deployment(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "sst2"), ("labels", None), ("labels", [1, 2]), ("inputs", "input_ids"), ("outputs", ["start_logits"]),
        ("precision", "int5"), ("batch_size", 0), ("batch_size", "4"), ("sequence_length", True),
    ],
)  # fmt: skip
def test_an_invalid_entry_is_named(folder, name, value):
    change(folder, **{name: value})
    with pytest.raises(
        UserError, match=rf"config\.json: (winnow\.{name} must be|the section of this project cannot be read)"
    ):
        read_deployment(folder)


def test_a_masked_language_model_is_refused(folder):
    from tests.deployed import task_section

    change(folder, task=task_section("masked_lm"), labels=[])
    with pytest.raises(UserError, match="masked language models cannot be deployed; fine-tune the run of masked_lm"):
        read_deployment(folder)
