import json

import pytest
import torch

from tests.toys import own_data, review_tables, toy_data
from winnow.config.checks import check
from winnow.config.fingerprint import fingerprint
from winnow.data.demo import reviews
from winnow.data.splits import load_splits
from winnow.errors import UserError
from winnow.tasks.task import build_task
from winnow.training.calibration import _batches, calibration_texts


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return [*own_data(review_tables(tmp_path_factory.mktemp("data"))), "recipe=ptq"]


def texts_of(config):
    task = build_task(config.task)
    task.prepare(load_splits(config.task.data))
    return calibration_texts(config, task)


TEXTS = ["a fine film", "", "a dull film", "I left early"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.csv", "id,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(TEXTS))),
        ("texts.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)),
        ("labelled.jsonl", "".join(json.dumps({"text": text, "label": "x"}) + "\n" for text in TEXTS)),
    ],
)
def test_a_file_of_texts_needs_no_labels_and_its_empty_rows_are_left_out(words, configured, tmp_path, name, content):
    file = tmp_path / name
    file.write_text(content)
    config = configured(*words, f"recipe.quantization.calibration={file}")
    check(config)
    found = texts_of(config)["quantization"]
    assert sorted(row["text"] for row in found) == sorted(text for text in TEXTS if text)


def test_of_a_large_file_the_rows_are_drawn_by_the_seed(words, configured, tmp_path):
    (tmp_path / "texts.csv").write_text("text\n" + "".join(f"text {i}\n" for i in range(100)))
    settings = [f"recipe.quantization.calibration={tmp_path}/texts.csv", "recipe.quantization.calibration_samples=9"]
    one, again, other = (texts_of(configured(*words, *settings, f"seed={seed}")) for seed in (1, 1, 2))
    assert one == again != other
    assert len({row["text"] for row in one["quantization"]}) == 9


def test_without_a_file_there_are_no_texts(words, configured):
    assert texts_of(configured(*words)) == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "recipe.quantization.calibration={file}: there is no such file"),
        ("texts.xyz", "text\n", "files must end in .csv"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_at_once(words, configured, tmp_path, name, content, message):
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError) as error:
        check(configured(*words, f"recipe.quantization.calibration={file}"))
    assert message.format(file=file) in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("txt\na\n", "task.data.text_columns: there is no column 'text' in the file {file}; it has txt."),
        ("text\n", "has no rows"),
        ('text\n""\n', "recipe.quantization.calibration={file}: the file has no rows with text; name another file."),
    ],
)
def test_a_file_without_texts_is_refused(words, configured, tmp_path, content, message):
    file = tmp_path / "texts.csv"
    file.write_text(content)
    with pytest.raises(UserError) as error:
        texts_of(configured(*words, f"recipe.quantization.calibration={file}"))
    assert message.format(file=file) in str(error.value)


def test_masked_language_models_are_calibrated_on_training_rows_only(configured, tmp_path):
    (tmp_path / "texts.csv").write_text("text\na\n")
    settings = ("task.data.files.train=x.csv", f"recipe.quantization.calibration={tmp_path}/texts.csv")
    config = configured("task=masked_lm", "recipe=ptq", *settings)
    with pytest.raises(UserError, match="has no effect on task=masked_lm, which cannot be deployed; leave it out"):
        calibration_texts(config, build_task(config.task))


def test_the_fingerprint_depends_on_the_content_of_the_file_and_not_on_its_place(words, configured, tmp_path):
    found = []
    for name, content in (("a.csv", "text\na\n"), ("b.csv", "text\na\n"), ("c.csv", "text\nb\n")):
        (tmp_path / name).write_text(content)
        found.append(fingerprint(configured(*words, f"recipe.quantization.calibration={tmp_path / name}")))
    assert found[0] == found[1] != found[2]


def test_texts_become_padded_batches_of_model_inputs():
    data = toy_data()
    texts = [{"text": text} for text in reviews(train=20, held_out=1)["train"]["text"]]
    batches = list(_batches(texts, data))
    assert [len(batch["input_ids"]) for batch in batches].count(8) == 2
    assert sum(len(batch["input_ids"]) for batch in batches) == 20
    assert set(batches[0]) <= {"input_ids", "attention_mask", "token_type_ids"}
    assert all(torch.equal(batch["input_ids"] != 0, batch["attention_mask"].bool()) for batch in batches)
