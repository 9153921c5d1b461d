import json
import shutil

import pytest
import torch
from datasets import DatasetDict
from safetensors.torch import load_file, save_file

import winnow
from tests.deployment.toys import family, inputs_of, logits, quantized, without_structures
from tests.toys import model_section, table, toy_data, toy_model, toy_task
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.files.local_files import looks_local, resolve_model_folder
from winnow.models.pretrained import load_saved, load_student, load_tokenizer, save_model, save_tokenizer
from winnow.models.shapes import shape_of
from winnow.models.structures import STRUCTURE, kept_structures
from winnow.models.teacher import checkpoint_teacher


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


def test_a_saved_tokenizer_does_not_depend_on_its_last_call(tmp_path):
    tokenizer = tiny_tokenizer()
    save_tokenizer(tokenizer, tmp_path / "new")
    tokenizer(["a good film"], truncation=True, max_length=3, padding="max_length")
    save_tokenizer(tokenizer, tmp_path / "used")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "new" / name).read_text() == (tmp_path / "used" / name).read_text()


def test_a_model_from_a_config_has_the_vocabulary_of_the_embedded_tokenizer():
    task = task_with(["a", "b", "c"])
    model = toy_model(task)
    assert model.config.vocab_size == len(tiny_tokenizer())
    assert model.config.pad_token_id == tiny_tokenizer().pad_token_id
    assert model.config.num_labels == 3
    assert model.new_head
    assert not torch.equal(toy_model(task, seed=1).classifier.weight, model.classifier.weight)


def test_a_saved_model_is_loaded_with_its_head(fine_tuned):
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


def test_a_run_folder_can_be_named_instead_of_its_model_folder(fine_tuned, tmp_path):
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


def test_zeros_of_a_saved_model_are_loaded_exactly(fine_tuned, tmp_path):
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
def test_names_on_the_hub_are_distinguished_from_paths(name, local):
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
def test_a_folder_without_a_complete_model_is_refused(fine_tuned, tmp_path, how, message):
    folder = broken(tmp_path / "broken", fine_tuned[0], how)
    with pytest.raises(UserError, match=rf"model\.name=.*broken: {message}") as raised:
        resolve_model_folder(str(folder))
    assert "\n" not in str(raised.value)


def test_a_missing_folder_is_refused_with_the_nearest(fine_tuned):
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


def test_a_hub_name_without_a_connection_gives_an_error_with_a_remedy():
    with pytest.raises(UserError, match=r"model\.name=nobody/nothing is no local folder.*model\.name=FOLDER"):
        student_of("nobody/nothing", toy_task())


def test_a_student_is_in_training_mode_with_its_dropout(fine_tuned):
    folder, task = fine_tuned
    assert all(module.training for module in student_of(folder, task).modules())
    assert all(module.training for module in toy_model(task).modules())


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "electra"])
def test_without_heads_and_neurons_a_model_is_loaded_small_and_any_class_opens_its_folder(name, tmp_path):
    model, task = without_structures(family(name, layers=3)), toy_task()
    batch = inputs_of(model)
    save_model(model, tiny_tokenizer(), tmp_path)
    small, stock = load_saved(tmp_path, task), task.auto_model.from_pretrained(tmp_path)
    assert torch.equal(logits(small, batch), logits(model, batch))
    assert kept_structures(small) == kept_structures(model)
    assert small.num_parameters() == model.num_parameters() < stock.num_parameters()
    assert not hasattr(stock, "kept_structures")
    torch.testing.assert_close(logits(stock, batch), logits(model, batch), rtol=1e-5, atol=1e-6)


def test_a_quantised_model_without_heads_and_neurons_computes_what_the_saved_one_did(tmp_path):
    model = quantized(without_structures(family("bert", layers=3)))
    batch = inputs_of(model)
    save_model(model, tiny_tokenizer(), tmp_path)
    assert torch.equal(logits(load_saved(tmp_path, toy_task()), batch), logits(model, batch))


def test_a_student_of_a_run_without_heads_and_neurons_is_as_small_and_so_is_its_planned_shape(tmp_path):
    model, task = without_structures(family("bert", layers=3)), task_with(["a", "b"])
    save_model(model, tiny_tokenizer(), tmp_path)
    section = model_section(str(tmp_path))
    student = student_of(tmp_path, task)
    assert kept_structures(student) == kept_structures(model)
    assert all(module.training for module in student.modules())
    planned = {name: value.shape for name, value in shape_of(section, task).named_parameters()}
    assert planned == {name: value.shape for name, value in student.named_parameters()}


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"heads": [[0]]}', '{"heads": [[7], [], []], "neurons": [[], [], []]}']
)
def test_a_damaged_file_of_structures_is_refused_in_one_line(content, tmp_path):
    save_model(without_structures(family("bert", layers=3)), tiny_tokenizer(), tmp_path)
    (tmp_path / STRUCTURE).write_text(content)
    with pytest.raises(UserError, match=r"structure\.json is damaged, or belongs to another model; copy the folder"):
        load_saved(tmp_path, toy_task())


def test_a_whole_model_has_no_file_of_its_structures(fine_tuned, tmp_path):
    folder, task = fine_tuned
    save_model(load_saved(folder, task), tiny_tokenizer(), tmp_path)
    assert not (tmp_path / STRUCTURE).exists()
    saved, again = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert saved.keys() == again.keys()
    assert all(torch.equal(saved[name], again[name]) for name in saved)


def test_load_opens_a_run_as_small_as_it_was_trained(tmp_path):
    model = quantized(without_structures(family("bert", layers=3)))
    batch = inputs_of(model)
    save_model(model, tiny_tokenizer(), tmp_path / "model")
    loaded = winnow.load(tmp_path)
    assert type(loaded) is type(model)
    assert torch.equal(logits(loaded, batch), logits(model, batch))
    with pytest.raises(UserError, match="there is no such folder"):
        winnow.load(tmp_path / "mode")


def test_code_in_the_folder_of_a_model_is_refused_without_a_question(fine_tuned, tmp_path):
    folder, task = shutil.copytree(fine_tuned[0], tmp_path / "model"), fine_tuned[1]
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": own}))
    (folder / "code.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'imported')!r}).touch()")
    section, tokenizer = model_section(str(folder)), tiny_tokenizer()
    for open_it in (
        lambda: load_student(section, task, tokenizer),
        lambda: load_saved(folder, task),
        lambda: shape_of(section, task),
        lambda: checkpoint_teacher(str(folder), task, tokenizer, ["a"]),
        lambda: winnow.load(folder),
    ):
        with pytest.raises(UserError, match=r"model: its configuration names Python code of its own \(auto_map\)"):
            open_it()
    assert not (tmp_path / "imported").exists()
