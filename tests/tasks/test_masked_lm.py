import json
import math
from itertools import chain

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, log_loss
from torchmetrics import MetricCollection
from transformers import AutoConfig, AutoModelForMaskedLM
from transformers.modeling_outputs import MaskedLMOutput

from tests.toys import (
    BERT,
    ENCODER_PATTERN,
    TINY,
    data_section,
    failure,
    fit,
    model_section,
    review_tables,
    run,
    typed_data,
    zeros_of,
)
from winnow.config.checks import check
from winnow.config.teacher import Teacher as TeacherSettings
from winnow.data.demo import reviews
from winnow.data.splits import load_splits
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.functional.masked_tokens import IGNORED
from winnow.functional.structure import zeros_count
from winnow.models.pretrained import load_saved, load_student
from winnow.models.teacher import Teacher, find_teacher
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.masks import encoder_weights, linear_weights
from winnow.tasks.masked_lm import MaskedLM
from winnow.tasks.task import Task
from winnow.training.task_data import TaskData

TEXTS = reviews(train=1500, held_out=1)["train"]["text"]
SIZES = {"vocab_size": len(tiny_tokenizer()), "max_position_embeddings": 70, "pad_token_id": 0}
ARCHITECTURES = {
    "bert": BERT | SIZES,
    "roberta": BERT | SIZES | {"model_type": "roberta"},
    "distilbert": SIZES | {"model_type": "distilbert", "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
}


def mlm(*, max_length=16, line_by_line=False, metrics=("perplexity", "accuracy"), mask_probability=0.15, **data):
    return MaskedLM(
        name="toy",
        metrics=metrics,
        max_length=max_length,
        line_by_line=line_by_line,
        mask_probability=mask_probability,
        data=data_section(label_column=None, plain_text="text", **data),
    )


def encoded(texts, tokenizer=None, *, training=True, **settings):
    """The encoded rows of a split of these texts."""
    task = mlm(**settings)
    split = task.prepare(DatasetDict({"train": Dataset.from_dict({"text": texts})}))["train"]
    return task.encode(split, tokenizer or tiny_tokenizer(), training=training)


def toy_batches(texts=TEXTS[:200], batch_size=8, **settings):
    """Texts as training data and, unchanged, as a validation split."""
    task = mlm(**settings)
    splits = task.prepare(DatasetDict(dict.fromkeys(("train", "validation"), Dataset.from_dict({"text": texts}))))
    return TaskData(task=task, splits=splits, tokenizer=tiny_tokenizer(), batch_size=batch_size, eval_batch_size=8)


def toy_mlm(task, seed=0):
    torch.manual_seed(seed)
    return load_student(model_section(config=BERT), task, tiny_tokenizer())


def words(ids):
    return " ".join(tiny_tokenizer().convert_ids_to_tokens(ids))


def test_texts_are_joined_with_separators_and_cut_into_full_blocks():
    rows = encoded(["the plot was good", "the cast was very bad", "not fine"], max_length=8)
    assert [words(ids) for ids in rows["input_ids"]] == [
        "[CLS] the plot was good [SEP] the [SEP]",
        "[CLS] cast was very bad [SEP] not [SEP]",
    ]
    assert rows["length"] == [8, 8]
    assert rows["attention_mask"] == [[1] * 8] * 2


def test_a_split_loses_less_than_one_block_however_many_texts_it_has():
    tokenizer = tiny_tokenizer()
    stream = list(chain.from_iterable([*tokenizer(t, add_special_tokens=False)["input_ids"], 3] for t in TEXTS))
    assert tokenizer.sep_token_id == 3
    rows = encoded(TEXTS, max_length=16)["input_ids"]
    assert len(TEXTS) > 1000  # more than one batch of the mapping
    assert len(rows) == len(stream) // 14
    assert list(chain.from_iterable(ids[1:-1] for ids in rows)) == stream[: len(rows) * 14]


def test_texts_shorter_than_one_block_together_are_a_single_row():
    rows = encoded(["the plot", "was good"], max_length=64)
    assert [words(ids) for ids in rows["input_ids"]] == ["[CLS] the plot [SEP] was good [SEP]"]
    assert rows["length"] == [7]


def test_line_by_line_each_text_is_a_row_truncated_to_the_length():
    rows = encoded(["the plot was good", "fine", "the cast was bad"], line_by_line=True, max_length=5)
    assert [words(ids) for ids in rows["input_ids"]] == [
        "[CLS] the plot was [SEP]",
        "[CLS] fine [SEP]",
        "[CLS] the cast was [SEP]",
    ]
    assert rows["length"] == [5, 3, 5]


@pytest.mark.parametrize("line_by_line", [True, False])
def test_empty_lines_are_ignored(line_by_line):
    full = encoded(TEXTS[:30], line_by_line=line_by_line)["input_ids"]
    gaps = list(chain.from_iterable((text, "", "  ", None) for text in TEXTS[:30]))
    assert encoded(gaps, line_by_line=line_by_line)["input_ids"] == full


@pytest.mark.parametrize("line_by_line", [True, False])
@pytest.mark.parametrize("texts", [["", " "], ["本", "本 本"]])
def test_a_split_without_a_word_that_the_tokenizer_knows_is_refused(texts, line_by_line):
    with pytest.raises(
        UserError, match="in column 'text' none of the 2 rows of a split has text that the tokenizer knows"
    ):
        encoded(texts, line_by_line=line_by_line)


def test_numbers_are_read_as_texts():
    assert words(encoded([12, 7], max_length=8)["input_ids"][0]) == "[CLS] 1 ##2 [SEP] 7 [SEP]"


def test_a_column_of_lists_is_refused():
    with pytest.raises(
        UserError, match=r"task\.data\.text_columns: column 'text' of the train split must hold texts, got List"
    ):
        encoded([["the", "plot"]])


def test_two_text_columns_are_refused():
    with pytest.raises(UserError, match=r"task\.data\.text_columns must be one column, got \['a', 'b'\]"):
        mlm(text_columns=["a", "b"])


def test_a_length_without_room_for_a_word_is_refused():
    with pytest.raises(UserError, match=r"task\.max_length=2 has no room"):
        mlm(max_length=2)


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(
        UserError, match=r"masked language modelling has no metric 'perplexty'.*Did you mean 'perplexity'\?"
    ):
        mlm(metrics=["perplexty"])


@pytest.mark.parametrize("token", ["mask_token", "sep_token"])
def test_a_tokenizer_without_a_token_that_is_needed_is_refused(token):
    tokenizer = tiny_tokenizer()
    setattr(tokenizer, token, None)
    with pytest.raises(UserError, match=f"its tokenizer has no {token}.*choose an encoder"):
        encoded(TEXTS[:5], tokenizer)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "task.mask_probability=15",
            r"mask_probability must be above 0 and below 1, got 15; write 15 % as 0\.15",
        ),
        ("task.mask_probability=0", r"task\.mask_probability must be above 0 and below 1, got 0"),
        ("task.line_by_line=maybe", r"task\.line_by_line must be true or false, got 'maybe'"),
    ],
)
def test_a_setting_out_of_range_is_refused(configured, override, message):
    with pytest.raises(UserError, match=message):
        check(configured("task=masked_lm", override))


def test_training_masks_other_tokens_in_each_epoch_whatever_the_workers_and_the_random_state():
    def epoch(number, workers=0):
        data = toy_batches()
        data.num_workers = workers
        loader = data.train_dataloader()
        loader.sampler.set_epoch(number)
        return [tuple(row) for batch in loader for row in batch["labels"].tolist()]

    first = epoch(0)
    torch.manual_seed(99)
    assert epoch(0) == epoch(0, workers=2) == first
    assert len(set(first) & set(epoch(1))) < len(first) / 10


def test_padding_is_never_masked():
    data = toy_batches(line_by_line=True)
    batch = next(batch for batch in data.train_dataloader() if not batch["attention_mask"].all())
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
    assert (batch["labels"] != IGNORED).any(dim=1).all()


@pytest.mark.parametrize("line_by_line", [True, False])
def test_evaluation_masks_the_same_tokens_whatever_the_batches_and_the_random_state(line_by_line):
    rows = encoded(TEXTS[:300], line_by_line=line_by_line, training=False)
    torch.manual_seed(99)
    fewer = encoded(TEXTS[:200], line_by_line=line_by_line, training=False)
    assert fewer["labels"] == rows["labels"][: len(fewer)]
    assert fewer["input_ids"] == rows["input_ids"][: len(fewer)]
    assert len({tuple(np.flatnonzero(np.array(labels) != IGNORED)) for labels in rows["labels"]}) > 10


def test_evaluation_batches_are_as_they_were_encoded():
    data = toy_batches(line_by_line=True)
    rows = {(tuple(r["input_ids"]), tuple(r["labels"])) for r in data.encoded["validation"]}
    for batch in data.eval_dataloader("validation"):
        for ids, labels, length in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"].sum(dim=1), strict=True
        ):
            assert (tuple(ids[:length].tolist()), tuple(labels[:length].tolist())) in rows
            assert (labels[length:] == IGNORED).all()


def test_a_second_run_finds_its_rows_in_the_cache(tmp_path):
    (tmp_path / "train.txt").write_text("\n".join(TEXTS[:300]))

    def cached(tokenizer, training):
        task = mlm(path=str(tmp_path))
        split = task.prepare(load_splits(typed_data("masked_lm", path=str(tmp_path), plain_text="text")))
        files = task.encode(split["train"], tokenizer, training=training).cache_files
        return [(file["filename"], tmp_path.joinpath(file["filename"]).stat().st_mtime_ns) for file in files]

    used = tiny_tokenizer()
    used(["the plot", "fine"], padding=True, truncation=True, max_length=4)
    for training in (True, False):
        first = cached(tiny_tokenizer(), training)
        assert len(first) == 1
        assert cached(used, training) == cached(used, training) == first


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_logits_of_the_masked_tokens_equal_those_of_the_full_forward_pass(name):
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(**ARCHITECTURES[name])).eval()
    data = toy_batches(line_by_line=True)
    batch = next(iter(data.eval_dataloader("validation")))
    whole = Task.outputs(data.task, model, batch).logits
    assert whole.shape == (*batch["input_ids"].shape, SIZES["vocab_size"])
    for either in (model, Teacher(model)):
        few = data.task.outputs(either, batch).logits
        torch.testing.assert_close(few, whole[batch["labels"] != IGNORED], rtol=1e-5, atol=1e-6)
    assert torch.equal(Task.outputs(data.task, model, batch).logits, whole)  # the hook is removed


def test_a_failed_forward_pass_leaves_the_model_unchanged():
    task = mlm()
    model = toy_mlm(task)
    with pytest.raises(IndexError):
        task.outputs(model, {"input_ids": torch.tensor([[9999]]), "labels": torch.tensor([[1]])})
    assert model(torch.tensor([[2, 7, 3]])).logits.shape[:2] == (1, 3)


def test_the_loss_is_the_cross_entropy_of_the_masked_tokens():
    batch = {"labels": torch.tensor([[IGNORED, 1, IGNORED], [0, IGNORED, IGNORED]])}
    outputs = MaskedLMOutput(logits=torch.tensor([[0.0, 0.0], [100.0, 0.0]]))
    assert float(mlm().loss(outputs, batch)) == pytest.approx(math.log(2) / 2)


def test_distillation_compares_the_logits_of_the_masked_tokens():
    student, teacher = (MaskedLMOutput(logits=torch.tensor([row])) for row in ([2.0, 0.0], [0.0, 2.0]))
    assert float(mlm().distillation_loss(student, teacher, {}, temperature=2.0)) == pytest.approx(1.8484687)
    assert float(mlm().distillation_loss(student, student, {}, temperature=2.0)) == 0.0


def measured(logits, labels, batch_size):
    task = mlm()
    metrics = MetricCollection(task.metrics(Dataset.from_dict({})))
    for part, truth in zip(logits.split(batch_size), labels.split(batch_size), strict=True):
        task.update_metrics(metrics, MaskedLMOutput(logits=part), {"labels": truth})
    return metrics.compute()


def test_perplexity_and_accuracy_equal_those_of_scikit_learn_for_any_batch_size():
    logits, labels = torch.randn(100, 7), torch.randint(0, 7, (100,))
    probabilities = np.exp(logits.double().numpy())
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = {
        "perplexity": math.exp(log_loss(labels, probabilities, labels=range(7))),
        "accuracy": accuracy_score(labels, logits.argmax(-1)),
    }
    for batch_size in (1, 9, 100):
        values = measured(logits, labels, batch_size)
        assert {value.dtype for value in values.values()} == {torch.float64}
        assert {name: float(value) for name, value in values.items()} == pytest.approx(expected, rel=1e-6)


def test_the_perplexity_of_uniform_logits_is_the_size_of_the_vocabulary():
    assert float(measured(torch.zeros(5, 250), torch.arange(5), 5)["perplexity"]) == pytest.approx(250)


def test_training_lowers_the_validation_perplexity():
    data = toy_batches(max_length=32)
    fitted = fit(data=data, model=toy_mlm(data.task), epochs=10)
    metrics = MetricCollection(data.task.metrics(data.splits["validation"]))
    fitted.model.eval()
    with torch.no_grad():
        for batch in data.eval_dataloader("validation"):
            data.task.update_metrics(metrics, data.task.outputs(fitted.model, batch), batch)
    assert float(metrics.compute()["perplexity"]) < 100  # uniform predictions have about 250


def test_pruning_leaves_the_head_and_the_decoder_that_is_tied_to_the_embeddings_dense(tmp_path):
    data = toy_batches()
    pruning = MagnitudePruning(
        name="pruning", params=[ENCODER_PATTERN], final_sparsity=0.75, start_epoch=0, end_epoch=1
    )
    fitted = fit(pruning, data=data, model=toy_mlm(data.task), epochs=1)
    fitted.model.save_pretrained(tmp_path)
    saved = load_saved(tmp_path, data.task)
    for model in (fitted.model, saved):
        decoder = model.get_output_embeddings().weight
        assert decoder is model.get_input_embeddings().weight
        assert zeros_of(decoder) == 0
        assert list(set(linear_weights(model)) - set(encoder_weights(model))) == [
            "cls.predictions.transform.dense.weight"
        ]
        assert zeros_of(model.cls.predictions.transform.dense.weight) == 0
        assert all(zeros_of(w) == zeros_count(w.numel(), 0.75) for w in encoder_weights(model).values())


def test_a_head_that_was_saved_is_not_new_and_a_plain_encoder_gets_one(tmp_path):
    task = mlm()
    model = toy_mlm(task)
    assert model.new_head
    model.save_pretrained(tmp_path / "whole")
    model.base_model.save_pretrained(tmp_path / "encoder")
    for name, new in (("whole", False), ("encoder", True)):
        assert load_student(model_section(str(tmp_path / name)), task, tiny_tokenizer()).new_head == new


@pytest.fixture
def teacher_folder(tmp_path):
    """Saves a teacher with a vocabulary of this size."""

    def save(vocabulary):
        config = AutoConfig.for_model(**BERT, vocab_size=vocabulary, pad_token_id=0)
        AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
        tiny_tokenizer().save_pretrained(tmp_path)
        return {"kind": "checkpoint", "name": str(tmp_path)}

    return save


def found(teacher):
    task = mlm()
    train = Dataset.from_dict({"text": TEXTS[:5]})
    return find_teacher(TeacherSettings(**teacher), toy_mlm(task), task, tiny_tokenizer(), train, None)


def test_a_teacher_of_masked_tokens_needs_no_labels(teacher_folder, capsys):
    assert found(teacher_folder(len(tiny_tokenizer()))).order is None
    assert capsys.readouterr().out == ""


def test_a_teacher_with_a_larger_vocabulary_is_refused(teacher_folder):
    words = len(tiny_tokenizer())
    with pytest.raises(UserError, match=rf"teacher\.name=.* predicts {words + 6} tokens, the student {words}; name a"):
        found(teacher_folder(words + 6))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a corpus in text files, and an encoder pruned on it."""
    folder = tmp_path_factory.mktemp("masked_lm")
    (folder / "texts").mkdir()
    (folder / "texts" / "train.txt").write_text("\n".join(TEXTS[:600]) + "\n")
    (folder / "texts" / "test.txt").write_text("\n".join(TEXTS[600:700]) + "\n")
    run("train", *corpus("texts"), "recipe=prune80", "dense.num_epochs=2", "recipe.num_epochs=3", "teacher=dense",
        "hydra.run.dir=pruned", folder=folder)  # fmt: skip
    review_tables(folder / "reviews")
    return folder


def corpus(path):
    return ["task=masked_lm", f"task.data.path={path}", "task.max_length=32", "task.data.batch_size=8", *TINY]


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def encoder_zeros(folder):
    weights = load_file(folder / "model" / "model.safetensors")
    return {name: w == 0 for name, w in weights.items() if ".layer." in name and w.ndim == 2}


def test_an_encoder_is_pruned_on_text_files(place):
    row = result_of(place / "pruned")
    assert (row["teacher"], row["pruned"], row["distilled"]) == ("dense", True, True)
    for metrics in (row["metrics"], row["test_metrics"]):
        assert 1 < metrics["perplexity"] < len(tiny_tokenizer())  # the perplexity of uniform predictions
        assert 0 < metrics["accuracy"] < 1
    assert len(encoder_zeros(place / "pruned")) == 12
    assert all(int(z.sum()) == zeros_count(z.numel(), 0.8) for z in encoder_zeros(place / "pruned").values())


@pytest.mark.parametrize("batch_size", [1, 32])
def test_evaluate_repeats_the_recorded_metrics_for_any_batch_size(place, batch_size):
    lines = run("evaluate", "run=pruned", f"batch_size={batch_size}", folder=place).splitlines()[1:]
    assert len(lines) == 4  # two metrics of two splits
    for line in lines:
        now, recorded = map(float, line.split()[-2:])
        assert now == pytest.approx(recorded, rel=1e-6)


def transfer(recipe, folder):
    return ["task=text_classification", "task.data.path=reviews", "task.data.batch_size=8", "model=bert_base",
            "model.name=pruned", "trainer.accelerator=cpu", f"recipe={recipe}", "recipe.num_epochs=1",
            "dense.num_epochs=1", "teacher=dense", f"hydra.run.dir={folder}"]  # fmt: skip


def test_the_pruned_encoder_is_transferred_to_a_task_with_its_zeros_kept(place):
    output = run("train", *transfer("transfer80", "transferred"), folder=place)
    assert "it is trained first" in output
    row = result_of(place / "transferred")
    assert (row["status"], row["recipe"], row["teacher"]) == ("ok", "transfer80", "dense")
    assert row["sparsity"] == pytest.approx(0.8, abs=1e-3)
    before, after = encoder_zeros(place / "pruned"), encoder_zeros(place / "transferred")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_transfer_with_more_zeros_than_the_encoder_has_is_refused_before_training(place):
    message = failure("train", *transfer("transfer90", "refused"), folder=place)
    assert "pruning.min_sparsity requires 90 % zeros, but the starting model has 80.0" in message
    assert "recipe=transfer" in message


def test_a_corpus_without_the_text_column_is_refused_with_the_existing_columns(place):
    (place / "table.csv").write_text("txt,label\nfine,a\nbad,b\n")
    message = failure("train", *corpus("null"), "task.data.files.train=table.csv", folder=place)
    assert "task.data.text_columns: there is no column 'text' in the train split; it has txt, label" in message


@pytest.mark.parametrize(
    ("content", "says"), [("", "is empty: it has 0 bytes"), ("\n\n\n", "has text that the tokenizer knows")]
)
def test_a_text_file_without_text_is_refused(place, content, says):
    (place / "empty.txt").write_text(content)
    assert says in failure("train", *corpus("null"), "task.data.files.train=empty.txt", "recipe=dense", folder=place)
