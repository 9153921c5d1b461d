import os
import subprocess
import sys
import uuid

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from scipy import stats
from sklearn import metrics as sk
from transformers.modeling_outputs import SequenceClassifierOutput

from tests.tasks.label_outputs import collected
from tests.toys import OPTIMIZER, table, toy_model, toy_task, typed_data
from winnow.data.splits import load_splits
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.tasks.metrics import metric_suffixes
from winnow.training.module import FineTuner


def prepared(train, validation=None, *, task=None, **settings):
    """The prepared task and its splits."""
    task = task or toy_task(**settings)
    splits = {"train": table(*zip(*train, strict=True))}
    if validation is not None:
        splits["validation"] = table(*zip(*validation, strict=True))
    return task, task.prepare(DatasetDict(splits))


def labelled(labels):
    return [(f"text {i}", label) for i, label in enumerate(labels)]


def test_string_labels_get_ids_in_alphabetical_order():
    task, splits = prepared(labelled(["sad", "glad", "meh", "glad"]))
    assert task.labels == ["glad", "meh", "sad"]
    assert splits["train"]["labels"] == [2, 0, 1, 0]


def test_numbers_as_labels_are_ordered_by_value():
    task, splits = prepared(labelled([10, 2, 1, 2]))
    assert task.labels == ["1", "2", "10"]
    assert splits["train"]["labels"] == [2, 1, 0, 1]


def test_whole_numbers_written_as_decimals_are_the_same_labels():
    task, splits = prepared(labelled([0.0, 1.0, 2.0]), labelled([2, 0]))
    assert task.labels == ["0", "1", "2"]
    assert splits["validation"]["labels"] == [2, 0]


def test_booleans_are_labels():
    task, splits = prepared(labelled([True, False, True]))
    assert task.labels == ["false", "true"]
    assert splits["train"]["labels"] == [1, 0, 1]


def test_named_labels_of_a_data_set_keep_their_order():
    task = toy_task()
    names = ["not_entailment", "entailment"]
    splits = task.prepare(DatasetDict({"train": table(["a", "b", "c"], [1, 0, 1], names)}))
    assert task.labels == names
    assert splits["train"]["labels"] == [1, 0, 1]


def test_named_labels_of_two_splits_in_another_order_are_matched_by_name():
    task = toy_task()
    splits = {"train": table(["a", "b"], [0, 1], ["no", "yes"]), "validation": table(["c"], [0], ["yes", "no"])}
    assert task.prepare(DatasetDict(splits))["validation"]["labels"] == [1]


def test_blanks_around_a_label_are_ignored():
    task, splits = prepared(labelled(["glad", " glad", "sad ", "sad"]))
    assert task.labels == ["glad", "sad"]
    assert splits["train"]["labels"] == [0, 0, 1, 1]


def test_the_configuration_of_the_model_has_the_label_names():
    task, _ = prepared(labelled(["sad", "glad"]))
    config = toy_model(task).config
    assert config.id2label == {0: "glad", 1: "sad"}
    assert config.label2id == {"glad": 0, "sad": 1}
    assert config.problem_type == "single_label_classification"


def test_a_label_that_does_not_occur_in_the_training_split_is_refused_with_its_row():
    with pytest.raises(
        UserError, match=r"validation split, row 2: label 'gald' does not occur in the .*Did you mean 'glad'\?"
    ):
        prepared(labelled(["sad", "glad"]), labelled(["sad", "gald"]))


def test_a_column_with_a_single_label_is_refused():
    with pytest.raises(UserError, match="'label' has the single value 'sad', but a classification needs two"):
        prepared(labelled(["sad", "sad"]))


def test_decimal_labels_are_refused_with_a_hint_at_regression():
    with pytest.raises(UserError, match=r"'label' holds decimal numbers; set task\.regression=true"):
        prepared(labelled([0.5, 1.0]))


@pytest.mark.parametrize("empty", ["", "   ", None])
def test_an_empty_text_is_refused_with_its_row_and_the_remedy(empty):
    rows = [("good", "a"), (empty, "b"), ("bad", "b"), (empty, "a")]
    with pytest.raises(
        UserError,
        match=r"2 of 4 rows.*the first is in column 'text' of the train split, row 2.*task\.data\.drop_empty=true",
    ):
        prepared(rows)


def test_the_error_for_an_empty_label_names_its_column():
    with pytest.raises(
        UserError, match="1 of 3 rows with an empty cell; the first is in column 'label' of the train split, row 3"
    ):
        prepared([("good", "a"), ("bad", "b"), ("so so", None)])


@pytest.mark.parametrize("empty", ["", " ", None])
def test_rows_with_an_empty_cell_are_left_out_with_drop_empty(empty):
    rows = [("good", "a"), (empty, "b"), ("bad", "b"), ("so", empty)]
    task, splits = prepared(rows, rows, drop_empty=True)
    assert task.labels == ["a", "b"]
    assert splits["train"]["text"] == ["good", "bad"]
    assert splits["validation"]["labels"] == [0, 1]


def test_nan_is_an_empty_label():
    _, splits = prepared(
        labelled([1.0, float("nan"), 2.5]), task=toy_task(metrics=["pearson"], regression=True, drop_empty=True)
    )
    assert splits["train"]["labels"] == [1.0, 2.5]


def test_a_split_of_empty_rows_only_is_refused():
    with pytest.raises(UserError, match="every row of the validation split has an empty cell"):
        prepared(labelled(["a", "b"]), [("", "a")], drop_empty=True)


def test_a_column_of_numbers_is_read_as_texts():
    task, splits = prepared([(12, "a"), (7, "b")])
    assert splits["train"]["text"] == ["12", "7"]
    assert task.encode(splits["train"], tiny_tokenizer(), training=True)["length"] == [4, 3]


def test_a_test_split_without_labels_is_left_out():
    rows = {"text": ["a", "b"], "label": [0, 1]}
    for test in ({"text": ["c"]}, {"text": ["c"], "label": [-1]}):
        splits = DatasetDict({"train": Dataset.from_dict(rows), "test": Dataset.from_dict(test)})
        assert list(toy_task().prepare(splits)) == ["train"]


def test_a_named_test_split_whose_labels_are_all_minus_one_is_left_out():
    names = ["no", "yes"]
    test = table(["c"], [-1]).cast_column("label", ClassLabel(names=names))
    splits = DatasetDict({"train": table(["a", "b"], [0, 1], names), "test": test})
    assert list(toy_task().prepare(splits)) == ["train"]


def test_a_test_split_with_labels_is_kept():
    splits = DatasetDict({"train": table(["a", "b"], [0, 1]), "test": table(["c"], [1])})
    assert toy_task().prepare(splits)["test"]["labels"] == [1]


def test_a_pair_of_texts_is_joined_into_one_sequence():
    task = toy_task(text_columns=["first", "second"])
    rows = Dataset.from_dict({"first": ["good", "bad"], "second": ["bad plot", "dull"], "label": ["a", "b"]})
    encoded = task.encode(task.prepare(DatasetDict({"train": rows}))["train"], tiny_tokenizer(), training=True)
    tokens = tiny_tokenizer().convert_ids_to_tokens(encoded["input_ids"][0])
    assert tokens == ["[CLS]", "good", "[SEP]", "bad", "plot", "[SEP]"]
    assert encoded["token_type_ids"][0] == [0, 0, 0, 1, 1, 1]
    assert encoded["length"] == [6, 5]


def test_a_long_text_becomes_overlapping_windows_that_share_its_label():
    task = toy_task(long_texts="windows", stride=1, max_length=5)
    split = task.prepare(DatasetDict({"train": table(["good", "the plot was very good"], ["a", "b"])}))["train"]
    encoded = task.encode(split, tiny_tokenizer(), training=True)
    words = [tiny_tokenizer().decode(ids, skip_special_tokens=True) for ids in encoded["input_ids"]]
    assert words == ["good", "the plot was", "was very good"]
    assert (encoded["labels"][:], encoded["length"][:]) == ([0, 1, 1], [3, 5, 5])
    assert task.encode(split, tiny_tokenizer(), training=False)["example"][:] == [0, 1, 1]
    task.stride = 3
    with pytest.raises(UserError, match=r"task\.stride=3 must be below 3, the tokens that a window has"):
        task.encode(split, tiny_tokenizer(), training=True)


def test_three_text_columns_are_refused():
    with pytest.raises(UserError, match="one column or two"):
        toy_task(text_columns=["a", "b", "c"])


def test_a_regression_has_one_output_and_numbers_as_labels():
    task, splits = prepared(labelled([0.0, 2.5, 5.0]), task=toy_task(metrics=["pearson"], regression=True))
    assert splits["train"]["labels"] == [0.0, 2.5, 5.0]
    config = toy_model(task).config
    assert (config.num_labels, config.problem_type) == (1, "regression")


def test_a_regression_on_words_is_refused():
    with pytest.raises(UserError, match=r"row 2: the label 'many' is not a number.*task\.regression=false"):
        prepared(labelled(["1", "many"]), task=toy_task(metrics=["pearson"], regression=True))


def test_the_loss_of_a_regression_is_the_squared_error():
    task = toy_task(metrics=["pearson"], regression=True)
    outputs = SequenceClassifierOutput(logits=torch.tensor([[1.0], [2.0]]))
    assert float(task.loss(outputs, {"labels": torch.tensor([3.0, 2.0])})) == 2.0


def test_the_loss_weighs_a_row_by_its_label():
    """Losses log 4 of weight 3 and log(4/3) of weight 1. Balanced weights of 10 and 30 rows: 40 / 20 and 40 / 60."""
    task, _ = prepared(labelled(["a"] * 10 + ["b"] * 30), class_weights={"a": 3})
    outputs = SequenceClassifierOutput(logits=torch.tensor([[0.0, np.log(3)], [0.0, np.log(3)]]))
    loss = task.loss(outputs, {"labels": torch.tensor([0, 1])})
    assert float(loss) == pytest.approx((3 * np.log(4) + np.log(4 / 3)) / 4)
    balanced, _ = prepared(labelled(["a"] * 10 + ["b"] * 30), class_weights="balanced")
    assert balanced.weights.tolist() == pytest.approx([2, 2 / 3])


def test_a_smoothed_label_is_spread_over_all_labels():
    """A tenth over two labels: 0.95 * log 4 + 0.05 * log(4/3)."""
    outputs = SequenceClassifierOutput(logits=torch.tensor([[0.0, np.log(3)]]))
    loss = toy_task(label_smoothing=0.1).loss(outputs, {"labels": torch.tensor([0])})
    assert float(loss) == pytest.approx(0.95 * np.log(4) + 0.05 * np.log(4 / 3))


def test_weights_of_an_unknown_label_and_a_threshold_among_three_are_refused():
    with pytest.raises(UserError, match=r"class_weights: there is no label 'gald'; .* glad, sad\. Did you mean 'glad'"):
        prepared(labelled(["sad", "glad"]), class_weights={"gald": 2.0})
    with pytest.raises(UserError, match=r"task\.threshold=tuned decides between two labels, but 'label' has 3"):
        prepared(labelled(["a", "b", "c"]), threshold="tuned")


def test_the_loss_of_a_classification_is_the_cross_entropy():
    outputs = SequenceClassifierOutput(logits=torch.tensor([[0.0, 0.0], [100.0, 0.0]]))
    loss = toy_task().loss(outputs, {"labels": torch.tensor([1, 0])})
    assert float(loss) == pytest.approx(np.log(2) / 2)


def measured(task, logits, targets):
    """The metrics of a task over batches of unequal size."""
    metrics = collected(task, logits, {"labels": targets})
    return {name: float(value) for name, value in metrics.compute().items()}


NAMES = ["accuracy", "f1", "precision", "recall", "f1_macro", "f1_weighted", "matthews_correlation"]


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_classification_metrics_equal_those_of_scikit_learn(classes):
    task, _ = prepared(labelled([str(i) for i in range(classes)]), task=toy_task(metrics=NAMES))
    logits, labels = torch.randn(60, classes), torch.randint(0, classes, (60,))
    predicted, average = logits.argmax(-1), "binary" if classes == 2 else "macro"
    assert measured(task, logits, labels) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(labels, predicted),
            "f1": sk.f1_score(labels, predicted, average=average),
            "precision": sk.precision_score(labels, predicted, average=average),
            "recall": sk.recall_score(labels, predicted, average=average),
            "f1_macro": sk.f1_score(labels, predicted, average="macro"),
            "f1_weighted": sk.f1_score(labels, predicted, average="weighted"),
            "matthews_correlation": sk.matthews_corrcoef(labels, predicted),
        },
        abs=1e-5,
    )


@pytest.mark.filterwarnings("ignore:Metric `Spearman")
def test_regression_metrics_equal_those_of_scipy():
    task = toy_task(metrics=["pearson", "spearmanr", "mean_squared_error"], regression=True)
    labels = torch.rand(60) * 5
    predictions = (labels + torch.randn(60)).unsqueeze(-1)
    assert measured(task, predictions, labels) == pytest.approx(
        {
            "pearson": stats.pearsonr(predictions.squeeze(-1), labels).statistic,
            "spearmanr": stats.spearmanr(predictions.squeeze(-1), labels).statistic,
            "mean_squared_error": sk.mean_squared_error(labels, predictions.squeeze(-1)),
        },
        abs=1e-4,
    )


@pytest.mark.filterwarnings("ignore:Metric `Spearman")
def test_spearman_ranks_ties_as_scipy_does():
    task = toy_task(metrics=["spearmanr"], regression=True)
    labels = torch.tensor([0.0, 1.0, 1.0, 2.0, 2.0, 2.0, 5.0])
    predictions = torch.tensor([[0.0], [2.0], [1.0], [1.0], [3.0], [3.0], [2.0]])
    expected = stats.spearmanr(predictions.squeeze(-1), labels).statistic
    assert measured(task, predictions, labels) == pytest.approx({"spearmanr": expected}, abs=1e-5)


@pytest.mark.parametrize(("regression", "metric"), [(False, "acuracy"), (True, "pearsonr")])
def test_an_unknown_metric_is_refused_with_the_nearest_name(regression, metric):
    nearest = "pearson" if regression else "accuracy"
    with pytest.raises(UserError, match=rf"task\.metrics: a \w+ has no metric '{metric}'.*Did you mean '{nearest}'\?"):
        toy_task(metrics=[metric], regression=regression)


@pytest.mark.parametrize(
    ("names", "suffixes"),
    [
        (["validation"], [""]),
        (["validation_matched", "validation_mismatched"], ["", "_mismatched"]),
        (["validation", "hard"], ["", "_hard"]),
    ],
)
def test_metrics_of_a_second_validation_split_have_its_name_as_suffix(names, suffixes):
    assert metric_suffixes(names) == suffixes
    task, splits = prepared(labelled(["a", "b"]))
    split = splits["train"]
    module = FineTuner(toy_model(task), task=task, optimizer=OPTIMIZER, validation=dict.fromkeys(names, split))
    expected = {"accuracy" + suffix for suffix in suffixes}
    logits = SequenceClassifierOutput(logits=torch.zeros(2, 2))
    for metrics in module.val_metrics:
        task.update_metrics(metrics, logits, {"example": torch.arange(2), "truncated": torch.zeros(2)})
    assert {name for metrics in module.val_metrics for name in metrics.compute()} == expected


def tokenized_rows(folder, calls=(), **settings):
    """Number of rows that the tokenizer gets when the training split of a folder is prepared and encoded."""
    task, tokenizer = toy_task(**settings), tiny_tokenizer()
    for options in calls:
        tokenizer(["good", "a plot"], **options)
    tokenized, encode = [], type(tokenizer)._encode_plus

    def counted(self, text, *args, **kwargs):
        tokenized.extend(text)
        return encode(self, text, *args, **kwargs)

    splits = task.prepare(load_splits(typed_data(path=str(folder))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(tokenizer), "_encode_plus", counted)
        task.encode(splits["train"], tokenizer, training=True)
    return len(tokenized)


@pytest.fixture
def rows_on_disk(tmp_path):
    """A file of new content, since rows that were tokenized once are found again wherever they lie."""
    name = uuid.uuid4()
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"text {name} {i},{i % 2}\n" for i in range(12)))
    return tmp_path


def test_rows_are_tokenized_once(rows_on_disk):
    assert tokenized_rows(rows_on_disk) == 12
    assert tokenized_rows(rows_on_disk) == 0
    assert tokenized_rows(rows_on_disk, max_length=9) == 12


def test_rows_are_not_tokenized_again_for_other_metrics_or_after_other_calls_of_the_tokenizer(rows_on_disk):
    calls = ({"truncation": True, "max_length": 5}, {"padding": True}, {"return_offsets_mapping": True})
    assert tokenized_rows(rows_on_disk) == 12
    assert tokenized_rows(rows_on_disk, calls, metrics=["f1", "accuracy"]) == 0


def test_another_process_does_not_tokenize_again(rows_on_disk):
    assert tokenized_rows(rows_on_disk) == 12
    program = f"from {__name__} import tokenized_rows; print(tokenized_rows({str(rows_on_disk)!r}))"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}  # another order of sets
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CONF.parent, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "0", done.stderr


@pytest.mark.parametrize("names", [("labels", "label"), ("label", "text"), ("text_pair", "labels"), ("__x__", "0")])
def test_the_columns_of_a_file_may_have_any_names(names):
    text, label = names
    task = toy_task(text_columns=[text], label_column=label)
    splits = task.prepare(DatasetDict({"train": Dataset.from_dict({text: ["one", "two"], label: ["a", "b"]})}))
    assert splits["train"].column_names == ["text", "labels"]
    assert (splits["train"]["text"][:], splits["train"]["labels"][:]) == (["one", "two"], [0, 1])
    assert task.texts(splits["train"]) == ["one", "two"]


@pytest.mark.parametrize("unlabelled", [["-1", "-1"], ["", ""], [None, None]])
def test_a_test_split_whose_labels_are_all_blank_or_minus_one_has_none(unlabelled):
    splits = {"train": table(["a", "b"], ["0", "1"]), "test": table(["a", "b"], unlabelled)}
    assert list(toy_task().prepare(DatasetDict(splits))) == ["train"]
