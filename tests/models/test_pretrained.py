import json

import pytest
import torch
from datasets import DatasetDict
from safetensors.torch import load_file, save_file

from tests.toys import model_section, table, toy_data, toy_model, toy_task
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.files.local_files import looks_local, resolve_model_folder
from winnow.models.pretrained import load_saved, load_student, load_tokenizer


def task_with(labels):
    task = toy_task()
    task.prepare(DatasetDict({"train": table([f"text {i}" for i in range(len(labels))], labels)}))
    return task


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory):
    """A saved model with the labels negative and positive, and its task."""
    folder = tmp_path_factory.mktemp("fine-tuned")
    task = toy_data().task
    toy_model(task, seed=3).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder, task


def student_of(folder, task):
    section = model_section(str(folder))
    return load_student(section, task, load_tokenizer(section))


def test_a_model_from_a_config_has_the_vocabulary_of_the_embedded_tokenizer():
    task = task_with(["a", "b", "c"])
    model = toy_model(task)
    assert model.config.vocab_size == len(tiny_tokenizer())
    assert model.config.pad_token_id == tiny_tokenizer().pad_token_id
    assert model.config.num_labels == 3
    assert model.new_head
    assert not torch.equal(toy_model(task, seed=1).classifier.weight, model.classifier.weight)


def test_a_saved_model_comes_back_with_its_head(fine_tuned):
    folder, task = fine_tuned
    student = student_of(folder, task)
    saved = load_file(folder / "model.safetensors")
    assert not student.new_head
    assert all(torch.equal(value, saved[name]) for name, value in student.state_dict().items() if name in saved)


def test_a_head_of_another_shape_is_replaced_and_the_encoder_kept(fine_tuned):
    folder, task = fine_tuned
    student = student_of(folder, task_with(["a", "b", "c"]))
    assert student.new_head
    assert student.classifier.out_features == 3
    assert student.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert torch.equal(student.bert.pooler.dense.weight, student_of(folder, task).bert.pooler.dense.weight)


@pytest.mark.parametrize("labels", [["a", "b"], ["sad", "glad"]])
def test_a_head_for_other_labels_is_replaced(fine_tuned, labels):
    folder, task = fine_tuned
    other = student_of(folder, task_with(labels))
    assert other.new_head
    assert not torch.equal(other.classifier.weight, student_of(folder, task).classifier.weight)


def test_a_run_folder_stands_for_its_model(fine_tuned, tmp_path):
    folder, task = fine_tuned
    (tmp_path / "model").symlink_to(folder)
    assert resolve_model_folder(str(tmp_path)) == tmp_path / "model"
    assert not student_of(tmp_path, task).new_head


def test_weights_in_half_precision_are_loaded_in_float32(fine_tuned, tmp_path):
    folder, task = fine_tuned
    model = load_saved(folder, task)
    model.half().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert {p.dtype for p in student_of(tmp_path, task).parameters()} == {torch.float32}
    assert {p.dtype for p in load_saved(tmp_path, task).parameters()} == {torch.float32}


def test_zeros_of_a_saved_model_come_back_exactly(fine_tuned, tmp_path):
    folder, task = fine_tuned
    model = load_saved(folder, task)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[:, ::2] = 0.0
    model.save_pretrained(tmp_path)
    loaded = load_saved(tmp_path, task)
    assert not loaded.training
    assert torch.equal(
        loaded.bert.encoder.layer[0].output.dense.weight, model.bert.encoder.layer[0].output.dense.weight
    )


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("./model", True),
        ("/models/bert", True),
        ("~/bert", True),
        ("a/b/c", True),
        ("bert-base", False),
        ("a/b", False),
    ],
)
def test_names_on_the_hub_are_told_from_paths(name, local):
    assert looks_local(name) == local


def broken(folder, source, how):
    """A copy of a model folder with one thing wrong."""
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights, config = folder / "model.safetensors", folder / "config.json"
    if how == "no weights":
        weights.unlink()
    elif how == "empty weights":
        weights.write_bytes(b"")
    elif how == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "rubbish weights":
        weights.write_bytes(b"hello world, this is not a safetensors file")
    elif how == "no config":
        config.unlink()
    elif how == "damaged config":
        config.write_text('{"model_type": ')
    return folder


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no weights", "the folder has no weights; one of model.safetensors"),
        ("empty weights", "the folder has no weights; one of model.safetensors"),
        ("cut weights", "model.safetensors is damaged or cut short"),
        ("rubbish weights", "model.safetensors is damaged or cut short"),
        ("no config", "it has no config.json"),
        ("damaged config", "config.json is damaged"),
    ],
)
def test_a_folder_that_holds_no_whole_model_is_refused(fine_tuned, tmp_path, how, message):
    folder = broken(tmp_path / "broken", fine_tuned[0], how)
    with pytest.raises(UserError, match=rf"model\.name=.*broken: {message}") as raised:
        resolve_model_folder(str(folder))
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_not_there_is_refused_with_one_that_is_close(fine_tuned):
    wrong = fine_tuned[0].with_name(fine_tuned[0].name[:-1] + "x")
    with pytest.raises(UserError, match=rf"there is no such folder\. Did you mean '{fine_tuned[0].name}'\?"):
        resolve_model_folder(str(wrong))


def test_a_model_of_an_unknown_kind_is_refused_in_one_line(fine_tuned, tmp_path):
    folder, task = fine_tuned
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    save_file(load_file(folder / "model.safetensors"), tmp_path / "model.safetensors")
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"model\.name=.*the model could not be read") as raised:
        student_of(tmp_path, task)
    assert "\n" not in str(raised.value)


def test_a_hub_name_without_a_connection_says_what_to_do():
    with pytest.raises(UserError, match=r"model\.name=nobody/nothing is no local folder.*model\.name=FOLDER"):
        student_of("nobody/nothing", toy_task())


def test_a_student_is_in_training_mode_with_its_dropout(fine_tuned):
    folder, task = fine_tuned
    assert all(module.training for module in student_of(folder, task).modules())
    assert all(module.training for module in toy_model(task).modules())
