"""Texts without labels: read, marked, learned from the teacher alone."""

import json
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset, DatasetDict

from tests.toys import own_data, review_tables, run, table, toy_task, typed_data
from winnow.config.checks import check
from winnow.config.fingerprint import fingerprint
from winnow.config.run import dense_run
from winnow.config.task import Files
from winnow.data.splits import arrange_splits, load_splits
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.data.unlabeled import LABELLED
from winnow.errors import UserError
from winnow.tasks.task import build_task


@pytest.fixture
def texts(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text('a fine film\nIts end, "as they say", is dull\nso so\n')
    return file


def split_of(tmp_path, file, task=None, **changes):
    """The prepared training split of two labelled rows and a file."""
    train = tmp_path / "train.csv"
    train.write_text("text,label\ngood,yes\nbad,no\n")
    data = typed_data(files={"train": str(train), "validation": str(train), "unlabeled": str(file)}, **changes)
    task = task or toy_task()
    return arrange_splits(task.prepare(load_splits(data, unlabeled=True)), data)


FILES = {
    "a.txt": "a fine film\nso so\n",
    "a.csv": "label,text\nmaybe,a fine film\n,so so\n",
    "a.jsonl": '{"text": "a fine film", "label": [1]}\n{"text": "so so"}\n',
    "a.TSV": "text\na fine film\nso so\n",
}


@pytest.mark.parametrize("name", FILES)
def test_each_format_gives_its_texts_whatever_its_labels(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    train = split_of(tmp_path, tmp_path / name)["train"]
    assert train["text"][:] == ["good", "bad", "a fine film", "so so"]
    assert train[LABELLED][:] == [True, True, False, False]


def test_all_texts_are_added_whatever_the_number_of_labelled_rows_and_none_is_held_out(tmp_path, texts):
    splits = split_of(tmp_path, texts, max_train_samples=1, max_eval_samples=1)
    assert splits["train"][LABELLED][:] == [True, False, False, False]
    assert len(splits["validation"]) == 1
    assert LABELLED not in splits["validation"].column_names


def test_an_empty_line_is_an_error_or_left_out(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("one\n\ntwo\n")
    with pytest.raises(UserError, match=r"the unlabeled split has 1 of 3 rows with an empty cell.*texts\.txt, line 2"):
        split_of(tmp_path, file)
    task = toy_task(drop_empty=True)
    assert split_of(tmp_path, file, task, drop_empty=True)["train"]["text"][2:] == ["one", "two"]


def test_a_table_without_the_column_of_texts_is_refused(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("sentence\nx\n")
    with pytest.raises(UserError, match="there is no column 'text' in the unlabeled split; it has sentence"):
        split_of(tmp_path, file)


def prepared(task, labels):
    splits = DatasetDict(train=table(["a b", "c"], labels), validation=table(["a"], labels[:1]))
    return task.prepare(DatasetDict({**splits, "unlabeled": Dataset.from_dict({"text": ["d e f", "g"]})}))


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        (toy_task(), ["x", "y"]),
        (toy_task(regression=True, metrics=["pearson"]), [0.5, 2.0]),
        (toy_task(multi_label=True, metrics=["f1"]), [["x"], ["x", "y"]]),
    ],
    ids=["classes", "numbers", "several"],
)
def test_labels_of_every_kind_are_learned_from_the_labelled_rows_alone(task, labels):
    splits = prepared(task, labels)
    data = typed_data(files={"unlabeled": "texts.txt"})
    encoded = task.encode(arrange_splits(splits, data)["train"], tiny_tokenizer(), training=True)
    batch = task.collator(tiny_tokenizer())(encoded.remove_columns("length")[:])
    assert batch[LABELLED].tolist() == [True, True, False, False]
    outputs = SimpleNamespace(logits=torch.randn(4, 1 if not task.labels else 2, requires_grad=True))
    loss = task.training_loss(outputs, batch)
    first_two = {name: values[:2] for name, values in batch.items()}
    assert loss == task.loss(SimpleNamespace(logits=outputs.logits[:2]), first_two)
    loss.backward()
    assert outputs.logits.grad[2:].abs().sum() == 0
    assert outputs.logits.grad[:2].abs().sum() > 0


def test_a_batch_without_any_label_has_a_loss_of_0_that_can_be_differentiated():
    logits = torch.randn(3, 2, requires_grad=True)
    batch = {"labels": torch.zeros(3, dtype=torch.long), LABELLED: torch.zeros(3, dtype=torch.bool)}
    loss = toy_task().training_loss(SimpleNamespace(logits=logits), batch)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros(3, 2))


@pytest.mark.parametrize(("name", "content"), [("a.txt", "in Rome\nAnn\n"), ("a.conll", "in\nRome\n\nAnn\n")])
def test_sentences_to_tag_are_lines_of_words_or_a_word_a_line(configured, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    train = tmp_path / "train.conll"
    train.write_text("Bob B-person\nsees O\n\n")
    files = [f"task.data.files.train={train}", f"task.data.files.validation={train}"]
    words = ["task=token_classification", *files, f"task.data.files.unlabeled={tmp_path / name}"]
    section = configured(*words, "teacher=self").task
    task = build_task(section)
    split = arrange_splits(task.prepare(load_splits(section.data, unlabeled=True)), section.data)["train"]
    assert split["words"][:] == [["Bob", "sees"], ["in", "Rome"], ["Ann"]]
    encoded = task.encode(split, tiny_tokenizer(), training=True)
    batch = task.collator(tiny_tokenizer())(encoded.remove_columns("length")[:])
    logits = torch.randn(*batch["input_ids"].shape, 2)
    loss = task.training_loss(SimpleNamespace(logits=logits), batch)
    assert loss == F.cross_entropy(logits[0], batch["labels"][0], ignore_index=-100)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=sst2", "teacher=none"], r"needs a teacher, which labels the texts; name one, such as teacher=dense"),
        (["task=sst2", "recipe=dense"], r"needs a teacher"),
        (["task=sst2", "recipe=gmp80", "recipe.distillation.hardness=0"], r"recipe\.distillation\.hardness above 0"),
        (["task=squad"], r"task=squad cannot learn from texts without labels; the tasks of text_classification and"),
        (["task=masked_lm"], r"task=masked_lm cannot learn from texts without labels"),
    ],
)
def test_a_run_that_cannot_learn_from_the_texts_is_refused(configured, texts, words, message):
    with pytest.raises(UserError, match=message):
        check(configured(*words, f"task.data.files.unlabeled={texts}"))


def test_a_missing_file_and_one_of_an_unknown_format_are_refused(configured, tmp_path):
    with pytest.raises(UserError, match=r"task\.data\.files\.unlabeled=.*there is no such file"):
        check(configured("task=sst2", f"task.data.files.unlabeled={tmp_path / 'no.txt'}"))
    (tmp_path / "a.pdf").touch()
    with pytest.raises(UserError, match=r"a\.pdf: files must end in "):
        check(configured("task=sst2", f"task.data.files.unlabeled={tmp_path / 'a.pdf'}"))


def test_the_content_of_the_file_is_part_of_the_fingerprint_but_not_of_that_of_the_dense_teacher(configured, texts):
    words = ["task=sst2", f"task.data.files.unlabeled={texts}"]
    plain, with_texts = configured(words[0]), configured(*words)
    before = fingerprint(with_texts)
    assert before != fingerprint(plain)
    assert fingerprint(dense_run(with_texts)) == fingerprint(dense_run(plain))
    texts.write_text("other\n")
    assert fingerprint(configured(*words)) != before


def test_files_without_a_text_file_are_as_before():
    assert Files(train="a.csv").splits == {"train": "a.csv"}
    assert Files(train="a.csv", unlabeled="b.txt").splits == {"train": "a.csv"}


def test_plan_and_run_count_all_rows_and_a_teacher_is_trained_without_the_texts(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("the film is good\n" * 16)
    words = [*own_data(review_tables(tmp_path / "data", train=24)), f"task.data.files.unlabeled={texts}"]
    words += ["recipe=gmp50", "recipe.num_epochs=1", "recipe.distillation.hardness=0.5", "dense.num_epochs=1"]
    output = run("plan", *words, "plan.picture=null", folder=tmp_path)
    assert "40 examples (counted) in batches of 8: 5 optimizer steps an epoch" in output
    output = run("train", *words, "hydra.run.dir=run", folder=tmp_path)
    assert "Teacher's outputs: 40 texts" in output
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["status"], result["teacher_outputs"]) == ("ok", "stored")
    (dense,) = (tmp_path / "outputs" / "runs").glob("*/dense*/*/result.json")
    events = json.loads(dense.with_name("events.json").read_text())
    assert max(event["step"] for event in events) <= 3
    texts.unlink()  # only training reads it
    run("evaluate", "run=run", folder=tmp_path)
