import json
import shutil

import pytest
import torch
from datasets import DatasetDict
from transformers import AutoTokenizer

from tests.deployment.toys import family, inputs_of, logits, without_structures
from tests.toys import table, toy_model, toy_task
from winnow.config.teacher import Teacher as Settings
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.models.pretrained import save_model
from winnow.models.structures import kept_structures
from winnow.models.teacher import Teacher, check_same_tokenizer, checkpoint_teacher, find_teacher, self_teacher

TEXTS = ["the plot was not dull", "although the cast was good , the script was bad"]


def task_with(labels, **settings):
    task = toy_task(**settings)
    task.prepare(DatasetDict({"train": table([f"text {i}" for i in range(len(labels))], labels)}))
    return task


@pytest.fixture
def batch():
    return tiny_tokenizer()(TEXTS, padding=True, return_tensors="pt")


@pytest.fixture
def task():
    return task_with(["negative", "neutral", "positive"])


@pytest.fixture
def saved(task, tmp_path):
    """A fine-tuned teacher of the task on disk."""
    folder = tmp_path / "teacher"
    toy_model(task, seed=3).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def name_labels(folder, names):
    """Say what the outputs of a saved model mean."""
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    (folder / "config.json").write_text(json.dumps(config))


def load(folder, task, tokenizer=None):
    return checkpoint_teacher(str(folder), task, tokenizer or tiny_tokenizer(), TEXTS)


def logits_of_saved(folder, task, batch):
    with torch.no_grad():
        return task.auto_model.from_pretrained(folder, dtype=torch.float32).eval()(**batch).logits


def test_a_teacher_is_frozen_and_in_evaluation_mode(saved, task, batch):
    teacher = load(saved, task)
    assert not teacher.model.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher(**batch).logits.requires_grad
    assert torch.equal(teacher(**batch).logits, teacher(**batch).logits)


def test_a_teacher_with_the_same_labels_keeps_its_outputs(saved, task, batch):
    teacher = load(saved, task)
    assert teacher.order is None
    assert torch.equal(teacher(**batch).logits, logits_of_saved(saved, task, batch))


def test_labels_in_another_order_are_put_in_the_order_of_the_student(saved, task, batch):
    name_labels(saved, ["positive", "negative", "neutral"])
    assert task.labels == ["negative", "neutral", "positive"]
    own = logits_of_saved(saved, task, batch)
    assert torch.equal(load(saved, task)(**batch).logits, own[:, [1, 2, 0]])


def test_upper_and_lower_case_of_labels_mean_the_same(saved, task, batch):
    name_labels(saved, ["POSITIVE", "Negative", "neutral"])
    assert torch.equal(load(saved, task)(**batch).logits, logits_of_saved(saved, task, batch)[:, [1, 2, 0]])


def test_labels_without_names_are_assumed_to_be_in_order_and_a_note_is_printed(saved, task, batch, capsys):
    name_labels(saved, ["LABEL_0", "LABEL_1", "LABEL_2"])
    assert torch.equal(load(saved, task)(**batch).logits, logits_of_saved(saved, task, batch))
    assert "labels have no names; this run assumes negative, neutral, positive" in capsys.readouterr().out


def test_a_teacher_with_other_labels_is_refused(saved, task):
    name_labels(saved, ["entailment", "neutral", "contradiction"])
    with pytest.raises(
        UserError, match=r"labels entailment, neutral, contradiction, but toy has negative, neutral, pos"
    ):
        load(saved, task)


def test_a_teacher_with_another_number_of_labels_is_refused(saved):
    with pytest.raises(UserError, match=r"has 3 outputs \(negative, neutral, positive\), but toy has 2 \(no, yes\)"):
        load(saved, task_with(["no", "yes"]))


def test_a_classifier_cannot_teach_a_regression(saved):
    task = task_with([0.5, 1.5], metrics=["pearson"], regression=True)
    with pytest.raises(UserError, match=r"has 3 outputs .*, but toy has 1 \(a number\)"):
        load(saved, task)


def test_a_regression_teaches_a_regression(tmp_path, batch):
    task = task_with([0.5, 1.5], metrics=["pearson"], regression=True)
    toy_model(task).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert load(tmp_path, task)(**batch).logits.shape == (2, 1)


def test_a_teacher_without_a_trained_head_is_refused(saved, task, tmp_path):
    encoder = toy_model(task).bert
    encoder.save_pretrained(tmp_path / "encoder")
    tiny_tokenizer().save_pretrained(tmp_path / "encoder")
    name_labels(tmp_path / "encoder", task.labels)
    with pytest.raises(
        UserError, match=r"is not fine-tuned for toy: it has no trained head \(classifier\.bias is missing"
    ):
        load(tmp_path / "encoder", task)


def test_a_teacher_with_another_tokenizer_is_refused(saved, task):
    path = saved / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["good"], vocabulary["plot"] = vocabulary["plot"], vocabulary["good"]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match=r"another tokenizer than the student: 'the plot was not dull' becomes \["):
        load(saved, task)


def test_a_tokenizer_that_was_saved_and_read_is_the_same(saved):
    check_same_tokenizer(tiny_tokenizer(), AutoTokenizer.from_pretrained(saved), TEXTS, "teacher")


def test_a_run_folder_can_be_named_instead_of_its_model_folder(saved, task, tmp_path):
    shutil.copytree(saved, tmp_path / "run" / "model")
    assert load(tmp_path / "run", task).model.config.num_labels == 3


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder), r"teacher\.name=.*there is no such folder"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"teacher\.name=.*the folder has no weights"),
        (lambda folder: (folder / "config.json").write_text("{"), r"teacher\.name=.*config\.json is damaged"),
    ],
)
def test_a_folder_without_a_complete_teacher_is_refused(saved, task, damage, message):
    damage(saved)
    with pytest.raises(UserError, match=message):
        load(saved, task)


def test_teacher_self_is_a_copy_of_the_starting_weights(task, batch):
    student = toy_model(task)
    student.new_head = False
    start = student.eval()(**batch).logits.detach().clone()
    teacher = self_teacher(student)
    with torch.no_grad():
        student.classifier.weight.add_(1.0)
    assert torch.equal(teacher(**batch).logits, start)
    assert not torch.equal(student(**batch).logits.detach(), start)
    assert all(p.requires_grad for p in student.parameters())


@pytest.mark.parametrize("new_head", [True, False])
def test_teacher_self_with_an_untrained_head_warns(task, capsys, new_head):
    student = toy_model(task)
    student.new_head = new_head
    self_teacher(student)
    assert ("warning: teacher=self" in capsys.readouterr().out) == new_head


def test_teacher_none_is_no_teacher(task):
    assert find_teacher(Settings(kind="none"), None, task, None, None, None) is None


def test_teacher_dense_is_the_model_of_the_dense_run(task, saved, tmp_path, batch):
    shutil.copytree(saved, tmp_path / "dense" / "model")
    teacher = find_teacher(Settings(kind="dense"), None, task, None, None, tmp_path / "dense")
    assert isinstance(teacher, Teacher)
    assert torch.equal(teacher(**batch).logits, logits_of_saved(saved, task, batch))


def test_a_teacher_without_heads_and_neurons_is_as_small_as_it_was_saved_and_gives_its_weights_to_a_copy(tmp_path):
    model = without_structures(family("bert", layers=3))
    save_model(model, tiny_tokenizer(), tmp_path)
    teacher, batch = load(tmp_path, task_with(["a", "b"])), inputs_of(model)
    assert kept_structures(teacher.model) == kept_structures(model)
    assert torch.equal(teacher(**batch).logits, logits(model, batch))
    whole, small = family("bert", layers=3), without_structures(family("bert", layers=3))
    assert not teacher.give_weights_to(whole)
    assert teacher.give_weights_to(small)
    assert torch.equal(logits(small, batch), logits(model, batch))


def test_a_teacher_that_reads_fewer_tokens_than_the_student_is_refused(tmp_path):
    task = task_with(["negative", "positive"], max_length=100)
    toy_model(task, max_position_embeddings=64).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="reads 64 tokens at most, but toy has texts of up to 100; name another"):
        load(tmp_path, task)
