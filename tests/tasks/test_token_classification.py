import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from seqeval import metrics as seqeval
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torchmetrics import MetricCollection
from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer, RobertaConfig, RobertaTokenizer
from transformers.modeling_outputs import TokenClassifierOutput

from tests.toys import OPTIMIZER, TINY, failure, model_section, run, toy_model, typed_data
from winnow.data.demo_entities import tagged_sentences
from winnow.data.splits import load_splits
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.functional.distillation_loss import distillation_loss
from winnow.models.pretrained import load_tokenizer
from winnow.models.teacher import checkpoint_teacher
from winnow.tasks.token_classification import TokenClassification
from winnow.training.module import FineTuner
from winnow.training.task_data import TaskData

METRICS = ("f1", "precision", "recall", "accuracy")


def tag_task(*, metrics=METRICS, max_length=32, label_all_tokens=False, **data):
    shipped = yaml.safe_load((CONF / "task/token_classification.yaml").read_text())["data"]
    assert set(data) <= set(shipped)
    return TokenClassification(
        name="toy", metrics=metrics, max_length=max_length, label_all_tokens=label_all_tokens, data={**shipped, **data}
    )


def tagged(*sentences, names=None):
    """A split of sentences such as "paris/B-place is/O cold/O"; with ``names`` the tags are class ids."""
    rows = [[pair.rsplit("/", 1) for pair in sentence.split()] for sentence in sentences]
    words = [[word for word, _ in row] for row in rows]
    tags = [[tag for _, tag in row] for row in rows]
    if names is None:
        return Dataset.from_dict({"tokens": words, "ner_tags": tags})
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))})
    return Dataset.from_dict(
        {"tokens": words, "ner_tags": [[names.index(tag) for tag in row] for row in tags]}, features=features
    )


TRAIN = tagged("austin/B-place is/O cold/O", "austin/B-person left/O new/B-place paris/I-place")


def prepared(*, task=None, train=TRAIN, **splits):
    task = task or tag_task()
    return task, task.prepare(DatasetDict({"train": train, **splits}))


def rows(**columns):
    return Dataset.from_dict(columns)


def test_named_tags_get_ids_with_o_first_and_types_side_by_side():
    task, splits = prepared()
    assert task.labels == ["O", "B-person", "B-place", "I-place"]
    assert splits["train"]["labels"] == [[2, 0, 0], [1, 0, 2, 3]]
    assert splits["train"].column_names == ["words", "labels"]


def test_named_ids_of_a_data_set_keep_their_order():
    names = ["I-place", "B-place", "O"]
    task, splits = prepared(train=tagged("new/B-place york/I-place is/O", names=names))
    assert task.labels == names
    assert splits["train"]["labels"] == [[1, 0, 2]]


def test_named_ids_of_two_splits_in_another_order_are_matched_by_name():
    train = tagged("york/B-place is/O", names=["O", "B-place"])
    _, splits = prepared(train=train, validation=tagged("york/B-place is/O", names=["B-place", "O"]))
    assert splits["validation"]["labels"] == splits["train"]["labels"] == [[1, 0]]


def test_unnamed_numbers_are_tags_in_order_of_value_for_the_accuracy():
    train = rows(tokens=[["a", "b", "c"]], ner_tags=[[10, 2, 0]])
    task, splits = prepared(task=tag_task(metrics=["accuracy"]), train=train)
    assert task.labels == ["0", "2", "10"]
    assert splits["train"]["labels"] == [[2, 1, 0]]


@pytest.mark.parametrize(("tags", "shown"), [([0, 7], "0"), (["DET", "NOUN"], "DET")])
def test_f1_is_refused_for_tags_that_are_not_entity_tags(tags, shown):
    with pytest.raises(UserError, match=rf"f1 counts entities, but '{shown}' in column 'ner_tags'.*\[accuracy\]"):
        prepared(train=rows(tokens=[["the", "plot"]], ner_tags=[tags]))


def test_parts_of_speech_are_scored_by_the_accuracy():
    task, _ = prepared(task=tag_task(metrics=["accuracy"]), train=tagged("the/DET plot/NOUN"))
    assert task.labels == ["DET", "NOUN"]


@pytest.mark.parametrize(
    ("train", "validation", "labels"),
    [
        ("york/B-place is/O", "new/B-place york/I-place", ["O", "B-place", "I-place"]),
        ("york/I-place is/O", "york/I-place york/B-place", ["O", "B-place", "I-place"]),
        ("new/B-place york/E-place is/O", "york/S-place", ["O", "B-place", "E-place", "S-place"]),
    ],
)
def test_other_splits_may_have_new_tags_of_a_known_entity_type(train, validation, labels):
    task, _ = prepared(train=tagged(train), validation=tagged(validation))
    assert task.labels == labels


def test_a_new_tag_of_a_known_entity_type_comes_after_the_class_names():
    train = tagged("york/B-place is/O", names=["B-place", "O"])
    task, splits = prepared(train=train, validation=tagged("new/B-place york/I-place"))
    assert task.labels == ["B-place", "O", "I-place"]
    assert splits["validation"]["labels"] == [[0, 2]]


def test_a_tag_of_an_unknown_type_is_refused_with_split_row_and_nearest_name():
    with pytest.raises(
        UserError, match=r"the validation split, row 2: tag 'B-plase' does not occur in .*Did you mean 'B-place'\?"
    ):
        prepared(validation=tagged("is/O", "paris/B-plase"))


def test_a_column_with_a_single_tag_is_refused():
    with pytest.raises(UserError, match="'ner_tags' has the single tag 'O', but a token classification needs two"):
        prepared(train=tagged("it/O is/O"))


def test_unequal_numbers_of_words_and_tags_are_refused_with_the_row():
    train = rows(tokens=[["a"], ["b", "c", "d"]], ner_tags=[["O"], ["O", "O"]])
    with pytest.raises(UserError, match="the train split, row 2: there are 3 words but 2 tags"):
        prepared(train=train)


@pytest.mark.parametrize("tag", ["", " ", None])
def test_a_missing_tag_is_refused_with_the_word(tag):
    train = rows(tokens=[["a", "b"], ["in", "Rome"]], ner_tags=[["O", "B-place"], ["O", tag]])
    with pytest.raises(UserError, match=r"the train split, row 2: word 2, 'Rome', has no tag"):
        prepared(train=train)


@pytest.mark.parametrize("tag", [-1, -100])
def test_minus_1_and_minus_100_are_missing_tags(tag):
    train = rows(tokens=[["in", "Rome"]], ner_tags=[[0, tag]])
    with pytest.raises(UserError, match="row 1: word 2, 'Rome', has no tag"):
        prepared(train=train, task=tag_task(metrics=["accuracy"]))


EMPTY = {"tokens": [["in", "Rome"], [], None], "ner_tags": [["O", "B-place"], [], None]}


def test_a_sentence_without_words_is_refused_with_its_row_and_the_remedy():
    with pytest.raises(UserError, match=r"validation split, row 2: the sentence has no words;.*drop_empty=true"):
        prepared(validation=rows(**EMPTY))


def test_sentences_without_words_are_left_out_with_drop_empty():
    _, splits = prepared(task=tag_task(drop_empty=True), validation=rows(**EMPTY))
    assert splits["validation"]["words"] == [["in", "Rome"]]


def test_a_row_after_an_empty_one_keeps_its_row_number():
    broken = rows(tokens=[[], ["in", "Rome"]], ner_tags=[[], ["O"]])
    with pytest.raises(UserError, match="row 2: there are 2 words but 1 tags"):
        prepared(task=tag_task(drop_empty=True), validation=broken)


def test_a_split_of_empty_sentences_only_is_refused():
    empty = rows(tokens=[["in", "Rome"], []], ner_tags=[["O", "B-place"], []]).select([1])
    with pytest.raises(UserError, match="the validation split has no sentence with words"):
        prepared(task=tag_task(drop_empty=True), validation=empty)


@pytest.mark.parametrize("column", ["tokens", "ner_tags"])
def test_a_table_of_plain_texts_is_refused_with_the_expected_form(column):
    lists = {"tokens": [["in", "Rome"]], "ner_tags": [["O", "B-place"]]}
    with pytest.raises(UserError, match=rf"column '{column}' of the train split holds no lists.*\.conll files"):
        prepared(train=rows(**(lists | {column: ["in Rome"]})))


def test_two_columns_of_words_are_refused():
    with pytest.raises(UserError, match="must be one column of words"):
        tag_task(text_columns=["a", "b"])


@pytest.mark.parametrize(
    "test",
    [
        {"tokens": [["in", "Rome"]]},
        {"tokens": [["in", "Rome"]], "ner_tags": [["", ""]]},
        {"tokens": [["in", "Rome"]], "ner_tags": [[-1, -1]]},
        {"tokens": [["in", "Rome"]], "ner_tags": [[]]},
    ],
)
def test_a_test_split_without_tags_is_left_out(test):
    assert list(prepared(test=rows(**test))[1]) == ["train"]


def test_numbers_are_read_as_words():
    _, splits = prepared(train=rows(tokens=[[19, 84]], ner_tags=[["B-year", "O"]]))
    assert splits["train"]["words"] == [["19", "84"]]


def test_the_configuration_of_the_model_has_the_tag_names():
    config = toy_model(prepared()[0]).config
    assert config.id2label == {0: "O", 1: "B-person", 2: "B-place", 3: "I-place"}
    assert config.label2id["I-place"] == 3


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"a token classification has no metric 'recal'.*Did you mean 'recall'\?"):
        tag_task(metrics=["recal"])


def encoded(sentence, training=True, **settings):
    task, splits = prepared(task=tag_task(**settings), train=tagged(sentence))
    return task, task.encode(splits["train"], tiny_tokenizer(), training=training)


def test_only_the_first_token_of_a_word_has_its_tag():
    task, rows = encoded("zz/B-place paris/I-place is/O")  # the tiny tokenizer spells zz
    assert tiny_tokenizer().convert_ids_to_tokens(rows["input_ids"][0]) == [
        "[CLS]",
        "z",
        "##z",
        "paris",
        "i",
        "##s",
        "[SEP]",
    ]
    b, i, o = (task.labels.index(tag) for tag in ("B-place", "I-place", "O"))
    assert rows["labels"] == [[-100, b, -100, i, o, -100, -100]]
    assert rows["length"] == [7]


def test_with_label_all_tokens_later_tokens_have_the_tag_and_b_becomes_i():
    task, rows = encoded("zz/B-place zz/I-place qq/B-club is/O", label_all_tokens=True)
    names = [task.labels[label] if label >= 0 else "" for label in rows["labels"][0]]
    assert names == ["", "B-place", "I-place", "I-place", "I-place", "B-club", "B-club", "O", "O", ""]


def test_evaluation_scores_only_the_first_token_of_a_word_in_either_case():
    for label_all_tokens in (False, True):
        _, rows = encoded("zz/B-place paris/O", training=False, label_all_tokens=label_all_tokens)
        assert rows["word"] == [[-100, 0, -100, 1, -100]]
    assert "word" not in encoded("zz/B-place paris/O")[1].column_names


def oracle(task, split, batch_size=4, metrics=None):
    """The metrics of a model that predicts the correct tag for every scored token."""
    data = TaskData(
        task=task, splits={"train": split.select([0]), "validation": split}, tokenizer=tiny_tokenizer(),
        batch_size=1, eval_batch_size=batch_size,
    )  # fmt: skip
    metrics = metrics or MetricCollection(task.metrics(split))
    for batch in data.eval_dataloader("validation"):
        logits = torch.nn.functional.one_hot(batch["labels"].clamp(min=0), len(task.labels)).float()
        task.update_metrics(metrics, TokenClassifierOutput(logits=logits), batch)
    return metrics


def names_of(task, split):
    return [[task.labels[i] for i in labels] for labels in split["labels"]]


@pytest.mark.parametrize("max_length", [3, 4, 5, 8, 32])
def test_long_sentences_are_cut_into_windows_and_every_word_is_scored_once(max_length):
    long = " ".join(["zz/B-place paris/I-place austin/I-place unbelievable/O qq/B-person"] * 5)
    task, splits = prepared(task=tag_task(max_length=max_length), train=tagged(long, "paris/B-place", long))
    rows = task.encode(splits["train"], tiny_tokenizer(), training=False)
    assert max(rows["length"]) <= max_length
    assert len(rows) > 3
    assert sorted(word for words in rows["word"] for word in words if word >= 0) == list(range(51))
    metrics = oracle(task, splits["train"])
    assert metrics.compute() == {"f1": 1.0, "precision": 1.0, "recall": 1.0, "accuracy": 1.0}
    assert task.prediction_files(metrics)["predictions.json"] == names_of(task, splits["train"])


def test_word_indices_continue_across_the_batches_of_the_mapping():
    sentences = ["paris/B-place is/O cold/O", "austin/B-person left/O"] * 700
    task, splits = prepared(train=tagged(*sentences))
    rows = task.encode(splits["train"], tiny_tokenizer(), training=False)
    assert [word for words in rows["word"] for word in words if word >= 0] == list(range(3500))
    assert oracle(task, splits["train"], batch_size=64).compute()["f1"] == 1.0


def test_words_without_a_token_are_o_and_their_entities_are_counted_as_missed():
    words = [["new", "", "york"], ["", "\u200d"], ["paris", "\x07"]]
    tags = [["B-place", "I-place", "I-place"], ["B-place", "O"], ["B-place", "O"]]
    task, splits = prepared(train=rows(tokens=words, ner_tags=tags))
    metrics = oracle(task, splits["train"])
    predicted = task.prediction_files(metrics)["predictions.json"]
    assert predicted == [["B-place", "O", "I-place"], ["O", "O"], ["B-place", "O"]]
    assert metrics.compute() == {  # of 3 entities 1 is found, with 3 predicted; 5 words of 7 are right
        "f1": pytest.approx(1 / 3),
        "precision": pytest.approx(1 / 3),
        "recall": pytest.approx(1 / 3),
        "accuracy": pytest.approx(5 / 7),
    }


def test_a_window_without_a_label_is_left_out_of_training():
    task, splits = prepared(train=rows(tokens=[["paris", "is"], ["\x07"]], ner_tags=[["B-place", "O"], ["O"]]))
    assert len(task.encode(splits["train"], tiny_tokenizer(), training=True)) == 1


@pytest.mark.parametrize("max_length", [1, 2])
def test_a_length_without_room_for_a_word_is_refused(max_length):
    with pytest.raises(UserError, match=rf"max_length={max_length} has no room for words beside 2 special tokens"):
        encoded("paris/B-place is/O", max_length=max_length)


TAGS = ["O", "B-person", "I-person", "B-place", "I-place"]


def random_split(sentences=40, seed=0):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 9, sentences)
    lines = [
        " ".join(f"zz/{TAGS[t]}" for t in generator.choice(5, n, p=[0.4, 0.15, 0.15, 0.15, 0.15])) for n in lengths
    ]
    return tagged(*lines, names=TAGS)


def scored_at_random(task, split, parts=5):
    """Metrics updated with random predictions in random order, in several parts."""
    words = sum(map(len, split["labels"]))
    order, tags = torch.randperm(words), torch.randint(0, 5, (words,))
    metrics = MetricCollection(task.metrics(split))
    for part in order.chunk(parts):
        batch = {"word": torch.stack([part, torch.full_like(part, -100)])}
        logits = torch.nn.functional.one_hot(torch.stack([tags[part], torch.zeros_like(part)]), 5).float()
        task.update_metrics(metrics, TokenClassifierOutput(logits=logits), batch)
    return metrics


def test_the_metrics_equal_those_of_seqeval_to_1e_12():
    task, splits = prepared(train=random_split())
    metrics = scored_at_random(task, splits["train"])
    true, predicted = names_of(task, splits["train"]), task.prediction_files(metrics)["predictions.json"]
    values = metrics.compute()
    assert {value.dtype for value in values.values()} == {torch.float64}
    assert 0 < values["f1"] < 1
    assert {name: float(value) for name, value in values.items()} == pytest.approx(
        {
            "f1": seqeval.f1_score(true, predicted),
            "precision": seqeval.precision_score(true, predicted),
            "recall": seqeval.recall_score(true, predicted),
            "accuracy": seqeval.accuracy_score(true, predicted),
        },
        abs=1e-12,
    )
    expected = seqeval.classification_report(true, predicted, output_dict=True)
    for each in task.prediction_files(metrics)["class_report.json"]["classes"]:
        theirs = expected[each["label"]]
        assert each["f1"] == pytest.approx(theirs["f1-score"], abs=1e-12)
        assert {name: each[name] for name in ("precision", "recall", "support")} == pytest.approx(
            {name: theirs[name] for name in ("precision", "recall", "support")}, abs=1e-12
        )


def test_only_the_chosen_metrics_are_computed_and_those_of_a_second_split_have_a_suffix():
    task, splits = prepared(task=tag_task(metrics=["recall", "accuracy"]))
    module = FineTuner(
        toy_model(task), task=task, optimizer=OPTIMIZER,
        validation={"validation": splits["train"], "validation_hard": splits["train"]},
    )  # fmt: skip
    for metrics, suffix in zip(module.val_metrics, ("", "_hard"), strict=True):
        assert list(oracle(task, splits["train"], metrics=metrics).compute()) == [
            "recall" + suffix,
            "accuracy" + suffix,
        ]


def test_a_reset_removes_all_collected_predictions():
    task, splits = prepared()
    metrics = oracle(task, splits["train"])
    assert metrics.compute()["f1"] == 1.0
    metrics.reset()
    all_o = torch.zeros(7, dtype=torch.int64)
    metrics.update(torch.arange(7), all_o)
    assert metrics.compute() == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "accuracy": pytest.approx(3 / 7)}


def test_predictions_of_several_processes_are_scored_as_one_split():
    task, splits = prepared()
    whole = oracle(task, splits["train"])["tags"]
    parts = [copy.deepcopy(whole) for _ in range(2)]
    for rank, metric in enumerate(parts):
        metric.reset()
        metric.update(torch.cat(whole.words)[rank::2], torch.cat(whole.tags)[rank::2])
    parts[0].merge_state(parts[1])
    assert parts[0].compute() == whole.compute()
    assert parts[0].predicted() == whole.predicted()


def test_the_loss_is_the_cross_entropy_over_the_tagged_tokens():
    logits = torch.tensor([[[9.0, -9.0], [0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [100.0, 0.0], [9.0, -9.0]]])
    labels = torch.tensor([[-100, 1, -100], [0, 0, -100]])
    loss = tag_task().loss(TokenClassifierOutput(logits=logits.bfloat16()), {"labels": labels})
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(2 * np.log(2) / 3)


def test_distillation_includes_every_token_except_padding():
    student, teacher = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    loss = tag_task().distillation_loss(
        TokenClassifierOutput(logits=student), TokenClassifierOutput(logits=teacher),
        {"attention_mask": mask}, temperature=2.0,
    )  # fmt: skip
    five = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    each = [distillation_loss(student[i, j], teacher[i, j], temperature=2.0) for i, j in five]
    assert float(loss) == pytest.approx(float(sum(each)) / 5, rel=1e-5)


def test_a_teacher_whose_tags_are_in_another_order_is_mapped_by_name(tmp_path):
    reverse, _ = prepared(train=tagged("new/B-place york/I-place is/O", names=["I-place", "B-place", "O"]))
    model = toy_model(reverse).eval()
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    task, splits = prepared(train=tagged("new/B-place york/I-place is/O"))
    teacher = checkpoint_teacher(str(tmp_path), task, tiny_tokenizer(), task.texts(splits["train"]))
    batch = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3, dtype=torch.int64)}
    assert task.labels == ["O", "B-place", "I-place"]
    assert torch.equal(task.outputs(teacher, batch).logits, model(**batch).logits[..., [2, 1, 0]])


def test_a_text_is_its_words_joined_by_blanks():
    task, splits = prepared()
    assert task.texts(splits["train"]) == ["austin is cold", "austin left new paris"]


def words_and_tags(split, tags=("O", "B-person", "I-person", "B-place", "I-place", "B-club", "I-club")):
    return [[(word, tags[tag]) for word, tag in zip(row["tokens"], row["ner_tags"], strict=True)] for row in split]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The demo data as CoNLL files of four columns, as in CoNLL-2003, and as Parquet files of a hub data set."""
    folder = tmp_path_factory.mktemp("tags")
    (folder / "conll").mkdir()
    (folder / "hub").mkdir()
    for name, split in tagged_sentences(train=160, held_out=12).items():
        lines = ["-DOCSTART- -X- -X- O", ""]
        for sentence in words_and_tags(split):
            lines += [*(f"{word} NN B-NP {tag}" for word, tag in sentence), ""]
        (folder / "conll" / f"{name}.txt").write_text("\n".join(lines))
        split.to_parquet(folder / "hub" / f"{name}-00000-of-00001.parquet")
    return folder


RATE = ["recipe.optimizer.learning_rate=0.02", "dense.optimizer.learning_rate=0.02"]
FAST = ["recipe.num_epochs=3", "dense.num_epochs=3", "task.data.batch_size=8", *RATE, *TINY]


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def pruned(place):
    run("train", "task=token_classification", "task.data.path=conll", "task.max_length=8", *FAST,
        "hydra.run.dir=pruned", folder=place)  # fmt: skip
    return place / "pruned"


def test_conll_files_train_a_teacher_and_a_pruned_student(pruned):
    row = result_of(pruned)
    assert (row["status"], row["teacher"], row["distilled"], row["pruned"]) == ("ok", "dense", True, True)
    assert row["sparsity"] == pytest.approx(0.8, abs=1e-3)
    assert set(row["metrics"]) == set(row["test_metrics"]) == set(METRICS)
    tags = json.loads((pruned / "model" / "config.json").read_text())["id2label"]
    assert list(tags.values()) == ["O", "B-club", "I-club", "B-person", "I-person", "B-place", "I-place"]


@pytest.mark.parametrize("folder", ["conll", "hub"])
def test_a_second_run_finds_its_windows_in_the_cache(folder, place):
    def cached(training, **settings):
        task = tag_task(**settings)
        splits = load_splits(typed_data("token_classification", path=str(place / folder)))
        files = task.encode(task.prepare(splits)["train"], tiny_tokenizer(), training=training).cache_files
        return [(file["filename"], Path(file["filename"]).stat().st_mtime_ns) for file in files]

    for training in (True, False):
        first = cached(training)
        assert len(first) == 1
        assert cached(training, metrics=["f1"]) == first
        assert cached(training, max_length=5) != first


def test_the_predictions_of_a_run_are_full_sentences_with_the_recorded_scores(pruned, place):
    for file, split, recorded in (
        ("predictions", "validation", "metrics"),
        ("test_predictions", "test", "test_metrics"),
    ):
        predicted = json.loads((pruned / f"{file}.json").read_text())
        sentences = (place / "conll" / f"{split}.txt").read_text().split("\n\n")[1:]
        true = [[line.split()[-1] for line in sentence.splitlines()] for sentence in sentences if sentence]
        assert [len(tags) for tags in predicted] == [len(tags) for tags in true]
        assert result_of(pruned)[recorded]["f1"] > 0
        assert result_of(pruned)[recorded]["f1"] == pytest.approx(seqeval.f1_score(true, predicted), abs=1e-12)
        assert result_of(pruned)[recorded]["accuracy"] == pytest.approx(
            seqeval.accuracy_score(true, predicted), abs=1e-12
        )


def test_evaluate_repeats_the_recorded_metrics(pruned, place):
    lines = [line.split() for line in run("evaluate", "run=pruned", folder=place).splitlines()[1:]]
    assert len(lines) == 8
    assert all(now == recorded for _, _, now, recorded in lines)


def test_the_parquet_files_of_a_hub_data_set_give_the_same_sentences_and_tags(place):
    run("train", "task=token_classification", "task.data.path=hub", "recipe=dense", *FAST, "recipe.num_epochs=1",
        "hydra.run.dir=hub-run", folder=place)  # fmt: skip
    row = result_of(place / "hub-run")
    assert row["status"] == "ok"
    assert set(row["test_metrics"]) == set(METRICS)


def test_the_error_for_a_line_without_a_tag_names_its_sentence_and_word(place):
    (place / "broken.conll").write_text("in O\nparis B-place\n\nin O\nmilan\n")
    message = failure("train", "task=token_classification", "task.data.files.train=broken.conll", *FAST, folder=place)
    assert "broken.conll, line 5 has 1 column, but the lines before it have 2: 'milan'" in message


def test_comments_of_conll_files_are_left_out_with_comment_prefix(tmp_path):
    (tmp_path / "train.conll").write_text("# id 1 domain=en\nin _ _ O\nparis _ _ B-place\n\n# id 2\n#1 _ _ O\n")
    section = typed_data("token_classification", path=str(tmp_path), comment_prefix="# ")
    assert load_splits(section)["train"].select_columns(["tokens", "ner_tags"])[:] == {
        "tokens": [["in", "paris"], ["#1"]],
        "ner_tags": [["O", "B-place"], ["O"]],
    }


@pytest.fixture
def roberta(tmp_path):
    """An encoder with a byte-level tokenizer: a word after a blank has other ids than a word at the start."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    texts = [" ".join(words) for words in tagged_sentences(train=200, held_out=1)["train"]["tokens"]]
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False))
    state = json.loads(bpe.to_str())["model"]
    merges = [tuple(pair) for pair in state["merges"]]
    RobertaTokenizer(vocab=state["vocab"], merges=merges, model_max_length=40).save_pretrained(tmp_path / "roberta")
    config = RobertaConfig(
        vocab_size=len(state["vocab"]), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=48,
    )  # fmt: skip
    AutoModel.from_config(config).save_pretrained(tmp_path / "roberta")
    return tmp_path / "roberta"


def test_a_byte_level_tokenizer_gets_each_word_with_a_blank_before_it(roberta):
    tokenizer = load_tokenizer(model_section(str(roberta)), **TokenClassification.tokenizer_options)
    task, splits = prepared(train=tagged("london/B-place lincoln/I-place left/O"))
    ids = task.encode(splits["train"], tokenizer, training=True)["input_ids"][0]
    assert tokenizer.convert_ids_to_tokens(ids)[1:-1] == ["Ġlondon", "Ġlincoln", "Ġleft"]
    assert ids == AutoTokenizer.from_pretrained(roberta)(" london lincoln left")["input_ids"]


def test_the_saved_byte_level_tokenizer_gives_the_recorded_predictions(roberta, place):
    run("train", "task=token_classification", "task.data.path=conll", "model=roberta_base", f"model.name={roberta}",
        "recipe=dense", "recipe.num_epochs=4", "recipe.optimizer.learning_rate=0.01", "task.data.batch_size=8",
        "trainer.accelerator=cpu",
        f"hydra.run.dir={roberta.parent}/run", folder=place)  # fmt: skip
    folder = roberta.parent / "run"
    model = AutoModelForTokenClassification.from_pretrained(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    predicted = []
    rows = tagged_sentences(train=160, held_out=12)["test"]
    for words in rows["tokens"]:
        batch = tokenizer([words], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            ids = model(**batch).logits[0].argmax(-1).tolist()
        places = batch.word_ids()
        predicted.append([model.config.id2label[ids[places.index(i)]] for i in range(len(words))])
    assert json.loads((folder / "test_predictions.json").read_text()) == predicted
    lines = [json.loads(line) for line in (folder / "test_predictions.jsonl").read_text().splitlines()]
    true = [[rows.features["ner_tags"].feature.int2str(tag) for tag in tags] for tags in rows["ner_tags"]]
    columns = zip(rows["tokens"], predicted, true, strict=True)
    assert lines == [{"words": words, "tags": tags, "true_tags": true_tags} for words, tags, true_tags in columns]
    assert len({tag for tags in predicted for tag in tags}) > 1


def test_printed_lists_are_lists_of_words_and_tags():
    printed = {"tokens": ["['in', 'Rome']", '["it"]'], "ner_tags": ["['O', 'B-place']", "['O']"]}
    _, splits = prepared(train=Dataset.from_dict(printed))
    assert splits["train"]["words"][:] == [["in", "Rome"], ["it"]]
    with pytest.raises(UserError, match=r"the train split, row 2: \['a' 'b'\] is no list as Python or JSON write it"):
        prepared(train=Dataset.from_dict({**printed, "tokens": ["['in', 'Rome']", "['a' 'b']"]}))


def test_every_tag_that_the_training_split_lacks_is_named_with_its_number():
    train = rows(tokens=[["in", "Rome"]], ner_tags=[["O", "B-place"]])
    validation = rows(tokens=[["in"], ["x", "y", "z"]], ner_tags=[["O"], ["B-x", "B-y", "B-x"]])
    message = r"validation split, row 2: tag 'B-x' does not occur .*lacks 'B-x' \(2 times\), 'B-y' \(1 times\)\."
    with pytest.raises(UserError, match=message):
        prepared(train=train, validation=validation)


def test_a_missing_word_is_refused():
    with pytest.raises(UserError, match="row 1: word 2 is missing; fill it or leave the row out"):
        prepared(train=rows(tokens=[["in", None]], ner_tags=[["O", "B-place"]]))
