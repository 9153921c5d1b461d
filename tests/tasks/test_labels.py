import json
import math

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from sklearn import metrics as sk
from transformers.modeling_outputs import SequenceClassifierOutput

from tests.tasks.label_outputs import collected
from tests.toys import TINY, failure, run, table, toy_model, toy_task
from winnow.data.demo import reviews
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.models.teacher import checkpoint_teacher

NAMES = ["f1", "f1_macro", "precision", "recall", "accuracy"]


def multi_task(**settings):
    return toy_task(**{"metrics": ["f1"], "multi_label": True, **settings})


def prepared(train, validation=None, *, feature=None, task=None, **settings):
    """The prepared task and its splits with these labels; the texts are arbitrary."""
    task = task or multi_task(**settings)
    splits = {}
    for name, labels in {"train": train, "validation": validation}.items():
        if labels is not None:
            rows = {"text": [f"text {i}" for i in range(len(labels))], "label": labels}
            features = Features({"text": Value("string"), "label": feature}) if feature else None
            splits[name] = Dataset.from_dict(rows, features=features)
    return task, task.prepare(DatasetDict(splits))


def outputs(logits):
    return SequenceClassifierOutput(logits=torch.as_tensor(logits))


def test_lists_of_names_become_one_number_for_each_label():
    task, splits = prepared([["sad", "glad"], ["meh"], []])
    assert task.labels == ["glad", "meh", "sad"]
    assert splits["train"]["labels"] == [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_lists_of_numbers_are_ordered_by_value():
    task, splits = prepared([[10, 2], [1]])
    assert task.labels == ["1", "2", "10"]
    assert splits["train"]["labels"] == [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]


def test_lists_of_named_ids_keep_the_order_of_their_names():
    task, splits = prepared([[1], [0, 1], []], feature=List(ClassLabel(names=["zeal", "awe"])))
    assert task.labels == ["zeal", "awe"]
    assert splits["train"]["labels"] == [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]


def test_named_ids_of_two_splits_in_another_order_are_matched_by_name():
    def split(names):
        features = Features({"text": Value("string"), "label": List(ClassLabel(names=names))})
        return Dataset.from_dict({"text": ["a"], "label": [[0]]}, features=features)

    splits = multi_task().prepare(DatasetDict({"train": split(["a", "b"]), "validation": split(["b", "a"])}))
    assert splits["validation"]["labels"] == [[0.0, 1.0]]


def test_strings_are_split_at_the_separator_and_blank_labels_are_ignored():
    task, splits = prepared(["sad; glad", "meh", "", " ", "glad;", "sad;sad"], label_separator=";")
    assert task.labels == ["glad", "meh", "sad"]
    assert splits["train"]["labels"] == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_a_label_listed_twice_counts_once():
    _, splits = prepared([["a", "b", "a"], ["b"]])
    assert splits["train"]["labels"] == [[1.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("validation", "settings"), [([["sad"], ["glad", "gald"]], {}), (["sad", "glad,gald"], {"label_separator": ","})]
)
def test_a_label_that_does_not_occur_in_the_training_split_is_refused_with_its_row(validation, settings):
    train = ["sad,glad", "sad"] if settings else [["sad", "glad"], ["sad"]]
    with pytest.raises(
        UserError, match=r"validation split, row 2: label 'gald' does not occur in the .*Did you mean 'glad'\?"
    ):
        prepared(train, validation, **settings)


@pytest.mark.parametrize("empty", ["", " ", None])
def test_an_empty_name_in_a_list_is_refused_with_its_row(empty):
    with pytest.raises(UserError, match=r"the train split, row 3: the label '' is empty"):
        prepared([["a"], ["b"], ["a", empty]])


def test_a_row_with_none_instead_of_a_list_is_an_empty_cell():
    with pytest.raises(
        UserError, match="1 of 3 rows with an empty cell; the first is in column 'label' of the train split, row 2"
    ):
        prepared([["a"], None, ["b"]])
    assert prepared([["a"], None, ["b"]], drop_empty=True)[1]["train"]["labels"] == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("regression", [True, False])
def test_lists_are_refused_if_a_row_must_have_one_label(regression):
    task = toy_task(regression=regression, metrics=["pearson" if regression else "accuracy"])
    with pytest.raises(UserError, match=r"'label' of the train split holds lists; set task\.multi_label=true"):
        prepared([["a"], ["b"]], task=task)


def test_strings_without_a_separator_are_refused_for_multi_label():
    with pytest.raises(
        UserError, match=r"'label' of the train split holds no lists; .*\"task\.data\.label_separator=','\""
    ):
        prepared(["a", "b"])


def test_a_separator_for_lists_is_refused():
    with pytest.raises(UserError, match=r"'label' holds lists.*label_separator=null"):
        prepared([["a"], ["b"]], label_separator=",")


def test_a_separator_without_multi_label_is_refused(configured):
    with pytest.raises(UserError, match=r"label_separator=, has no effect without task\.multi_label=true"):
        configured("task=text_classification", "task.data.label_separator=','")


def test_lists_with_a_0_or_1_for_each_class_are_refused():
    with pytest.raises(UserError, match=r"row 1: the label \[0, 1, 0\] has a 0 or 1 for each class"):
        prepared([[0, 1, 0], [1, 1, 0]])


@pytest.mark.parametrize(
    ("rows", "what"), [([["a"], []], "the single label 'a', but"), ([[], []], "has no label, but")]
)
def test_fewer_than_two_labels_are_refused(rows, what):
    with pytest.raises(UserError, match=what):
        prepared(rows, feature=List(Value("string")))


def test_regression_and_multi_label_together_are_refused(configured):
    with pytest.raises(UserError, match=r"task\.regression=true and task\.multi_label=true exclude"):
        configured("task=text_classification", "task.regression=true", "task.multi_label=true")


def test_an_unknown_metric_of_multi_label_is_refused_with_the_nearest_name():
    with pytest.raises(
        UserError, match=r"a multi-label classification has no metric 'f1_makro'.*Did you mean 'f1_macro'\?"
    ):
        multi_task(metrics=["f1_makro"])


@pytest.mark.parametrize("names", [None, ["no", "yes"]])
def test_minus_one_among_other_labels_is_refused_with_its_row(names):
    splits = DatasetDict({"train": table(["a", "b"], [0, 1], names), "validation": table(["a", "b"], [1, -1], names)})
    with pytest.raises(UserError, match=r"the validation split, row 2: label '-1' does not occur"):
        toy_task().prepare(splits)


def test_the_number_of_no_class_is_refused_in_training_rows():
    splits = DatasetDict({"train": table(["a", "b", "c"], [0, 1, -1], ["no", "yes"])})
    with pytest.raises(UserError, match=r"row 3: the label -1 is no class; those of 'label' are 0 to 1"):
        toy_task().prepare(splits)


def test_a_decimal_number_is_not_rounded_to_a_label():
    splits = DatasetDict({"train": table(["a", "b"], [0, 1]), "validation": table(["a", "b"], [1.0, 1.5])})
    with pytest.raises(UserError, match=r"the validation split, row 2: label '1\.5' does not occur"):
        toy_task().prepare(splits)


def test_the_configuration_of_the_model_has_the_label_names():
    task, _ = prepared([["sad"], ["glad"]])
    config = toy_model(task).config
    assert config.id2label == {0: "glad", 1: "sad"}
    assert (config.num_labels, config.problem_type) == (2, "multi_label_classification")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("labels", [2, 5])
def test_the_metrics_equal_those_of_scikit_learn(labels):
    task, _ = prepared([[chr(97 + i) for i in range(labels)]], metrics=NAMES)
    logits, targets = torch.rand(40, labels) - 0.4, (torch.rand(40, labels) < 0.3).float()
    logits[:, 0], targets[:, 0] = -1.0, 0.0  # a label that no row has and no prediction contains
    metrics = collected(task, logits, {"labels": targets.tolist()})
    predicted = logits.sigmoid() > 0.5
    assert {name: float(value) for name, value in metrics.compute().items()} == pytest.approx(
        {
            "f1": sk.f1_score(targets, predicted, average="micro"),
            "f1_macro": sk.f1_score(targets, predicted, average="macro"),
            "precision": sk.precision_score(targets, predicted, average="micro"),
            "recall": sk.recall_score(targets, predicted, average="micro"),
            "accuracy": sk.accuracy_score(targets, predicted),
        },
        abs=1e-6,
    )


def test_the_loss_is_the_binary_cross_entropy_of_each_label():
    loss = multi_task().loss(outputs([[0.0, math.log(3)]]), {"labels": torch.tensor([[1.0, 0.0]])})
    assert float(loss) == pytest.approx((math.log(2) + math.log(4)) / 2)  # sigmoid(log 3) = 3/4


def test_weights_act_in_rows_that_have_the_label_and_smoothing_moves_targets_to_one_half():
    """Of four rows one has a and three have b: 3 / 1 and 1 / 3; a tenth of smoothing: 0.95 and 0.05."""
    balanced, _ = prepared([["a"], ["b"], ["b"], ["b"]], class_weights="balanced", label_smoothing=0.1)
    assert balanced.weights.tolist() == pytest.approx([3, 1 / 3])
    loss = balanced.loss(outputs([[0.0, 0.0]]), {"labels": torch.tensor([[1.0, 0.0]])})
    assert float(loss) == pytest.approx(math.log(2) * (0.95 * 3 + 0.05 + 0.05 / 3 + 0.95) / 2)


def divergence(p, q):
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.5])
def test_distillation_is_the_divergence_of_the_softened_sigmoids(temperature):
    student, teacher = [[2.0, 0.5], [-1.0, 3.0]], [[0.0, 0.5], [1.0, -2.0]]

    def probability(logit):
        return 1 / (1 + math.exp(-logit / temperature))

    pairs = [(t, s) for row_t, row_s in zip(teacher, student, strict=True) for t, s in zip(row_t, row_s, strict=True)]
    expected = temperature**2 * sum(divergence(probability(t), probability(s)) for t, s in pairs) / 4
    loss = multi_task().distillation_loss(outputs(student), outputs(teacher), {}, temperature=temperature)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_distillation_of_a_logit_of_0_from_one_of_log_3_is_the_number_computed_by_hand():
    """p = 3/4, q = 1/2: 3/4 log(3/2) + 1/4 log(1/2) = 0.1308."""
    loss = multi_task().distillation_loss(outputs([[0.0]]), outputs([[math.log(3)]]), {}, temperature=1.0)
    assert float(loss) == pytest.approx(0.130812, abs=1e-6)


def test_distillation_from_the_same_logits_is_zero():
    logits = outputs(torch.randn(3, 4) * 5)
    assert float(multi_task().distillation_loss(logits, logits, {}, temperature=2.0)) == pytest.approx(0.0, abs=1e-6)


@pytest.fixture
def saved_teacher(tmp_path):
    task, _ = prepared([["glad", "sad", "meh"]])
    toy_model(task, seed=3).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_the_labels_of_a_teacher_are_put_in_the_order_of_the_student(saved_teacher):
    student, _ = prepared([[0, 1, 2]], feature=List(ClassLabel(names=["sad", "glad", "meh"])))
    teacher = checkpoint_teacher(str(saved_teacher), student, tiny_tokenizer(), ["good"])
    batch = tiny_tokenizer()(["good", "bad"], return_tensors="pt")
    assert torch.equal(teacher(**batch).logits, teacher.model(**batch).logits[:, [2, 0, 1]])


def test_a_teacher_that_chooses_one_label_is_refused(saved_teacher):
    single = toy_task()
    single.prepare(DatasetDict({"train": table(["a", "b", "c"], ["glad", "sad", "meh"])}))
    with pytest.raises(UserError, match="is a model for multi_label_classification, but toy is a single_label"):
        checkpoint_teacher(str(saved_teacher), single, tiny_tokenizer(), ["good"])


def about(text, label):
    """Labels of a review: the subjects it names, and whether it is positive; some reviews have no label."""
    labels = [word for word in ("plot", "music", "cast", "ending") if word in text]
    return labels + (["positive"] if label and labels else [])


@pytest.fixture(params=["jsonl", "csv"])
def own_data(tmp_path, request):
    """Overrides of a command that trains on a user's files; some rows have no label."""
    for name, split in reviews(train=64, held_out=16).items():
        rows = [(text, about(text, label)) for text, label in zip(split["text"], split["label"], strict=True)]
        if request.param == "jsonl":
            lines = [json.dumps({"text": text, "label": labels}) for text, labels in rows]
        else:
            lines = ["text,label", *(f'"{text}","{",".join(labels)}"' for text, labels in rows)]
        (tmp_path / f"{name}.{request.param}").write_text("\n".join(lines) + "\n")
    separator = ["task.data.label_separator=','"] if request.param == "csv" else []
    return [
        "task=text_classification", "task.multi_label=true", f"task.data.path={tmp_path}", "task.data.batch_size=8",
        *separator, *TINY, "recipe=oneshot80", "recipe.num_epochs=1", "dense.num_epochs=1",
    ]  # fmt: skip


def test_files_with_several_labels_a_row_are_trained_distilled_and_evaluated_by_the_command(own_data, tmp_path):
    metrics = f"task.metrics=[{','.join(NAMES)}]"
    run("train", *own_data, metrics, "hydra.run.dir=run", folder=tmp_path)
    row = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (row["status"], row["distilled"]) == ("ok", True)
    assert set(row["metrics"]) == set(row["test_metrics"]) == set(NAMES)
    assert all(0 <= value <= 1 for value in row["metrics"].values())
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert sorted(config["label2id"]) == ["cast", "ending", "music", "plot", "positive"]
    assert config["problem_type"] == "multi_label_classification"
    printed = run("evaluate", "run=run", "split=validation", folder=tmp_path)
    for line in printed.splitlines()[-len(NAMES) :]:
        now, recorded = line.split()[-2:]
        assert now == recorded


def test_the_same_files_without_multi_label_are_refused_with_the_remedy(own_data, tmp_path):
    overrides = [override for override in own_data if override != "task.multi_label=true"]
    assert "task.multi_label=true" in failure("train", *overrides, "hydra.run.dir=run", folder=tmp_path)


def test_texts_that_look_like_numbers_are_labels_as_they_are_written():
    task, splits = prepared(["01", "1", "0201", "01"], task=toy_task())
    assert task.labels == ["01", "1", "0201"]
    assert splits["train"]["labels"] == [0, 1, 2, 0]


def test_a_number_is_one_label_with_and_without_decimals():
    task, splits = prepared(["1.0", "0.0", "2.0"], ["1", "2"], task=toy_task())
    assert task.labels == ["0.0", "1.0", "2.0"]
    assert splits["validation"]["labels"] == [1, 2]
    assert prepared(["1.0", "1", "0"], task=toy_task())[0].labels == ["0", "1"]


def test_a_few_decimal_numbers_are_classes_with_a_note(capsys):
    task, _ = prepared(["3.9", "3.10", "3.9", "3.10"], task=toy_task())
    assert task.labels == ["3.10", "3.9"]
    assert "the 2 classes in 'label' are decimal numbers such as 3.10" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"holds decimal numbers; set task\.regression=true"):
        prepared(["0.25", "1.5", "2.75"], task=toy_task())


def test_every_label_that_the_training_split_lacks_is_named_with_its_number():
    message = r"validation split, row 2: label 'c' does not occur .* 'c' \(2 times\), 'd' \(1 times\)\. Correct"
    with pytest.raises(UserError, match=message):
        prepared(["a", "b"], ["a", "c", "d", "c"], task=toy_task())


@pytest.mark.parametrize("cells", [["['action', 'drama']", "[]", ""], ['["action", "drama"]', "[]", "[ ]"]])
def test_printed_lists_are_lists(cells):
    task, splits = prepared([*cells, "['drama']"])
    assert task.labels == ["action", "drama"]
    assert splits["train"]["labels"] == [[1, 1], [0, 0], [0, 0], [0, 1]]


def test_printed_lists_are_no_names_of_labels():
    with pytest.raises(UserError, match=r"'label' of the train split holds lists; set task\.multi_label=true"):
        prepared(["['a', 'b']", "['a']"], task=toy_task())
    with pytest.raises(UserError, match=r"holds printed lists such as \['a', 'b'\], which need no separator"):
        prepared(["['a', 'b']", "['a']"], label_separator=",")


@pytest.mark.parametrize("form", ["('a', 'b')", "{'a', 'b'}", "['a' 'b']", "[1 0 1]", "[ True False]"])
def test_what_python_and_numpy_print_is_not_split_at_a_separator(form):
    with pytest.raises(UserError, match=r"holds printed lists such as .*, which need no separator"):
        prepared(["a,b", form], label_separator=",")


def test_a_printed_tuple_is_a_list_and_a_printed_set_is_refused():
    assert prepared(["('a', 'b')", "('a',)", "()"])[0].labels == ["a", "b"]
    with pytest.raises(UserError, match=r"row 2: the label set\(\) is no list of labels as Python or JSON write it"):
        prepared(["('a', 'b')", "set()"])


@pytest.mark.parametrize("name", ["(a)", "[a]", "{a}", "(1)", "[UNK]"])
def test_a_label_in_brackets_is_a_label(name):
    assert prepared([name, "b"], task=toy_task())[0].labels == sorted([name, "b"])


def test_the_lists_that_numpy_prints_are_refused_since_they_have_no_commas():
    with pytest.raises(UserError, match=r"row 2: the label \['a' 'b'\] is no list of labels as Python or JSON"):
        prepared(["['a', 'b']", "['a' 'b']"])


@pytest.mark.parametrize(
    "cells",
    [
        [[1, 0], [0, 1]],
        [[True, False, False], [False, True, False]],
        [["1.0", "0.0"], ["0.0", "0.0"]],
        ["[1, 0]", "[0, 1]"],
        ["[True, False]", "[False, True]"],
    ],
)
def test_lists_of_0_and_1_name_no_labels(cells):
    with pytest.raises(UserError, match=r"has a 0 or 1 for each class; a list in 'label' must name the labels"):
        prepared(cells)


def test_a_list_of_the_labels_0_and_1_is_a_list_of_names():
    assert prepared([[0], [1], [0, 1]])[0].labels == ["0", "1"]


@pytest.mark.parametrize(
    "label", ["3,5", "1_000", "nan", "inf", "-Infinity", "1e999", "0x10", "\u0663", "three", "1 2"]
)
def test_only_finite_decimal_numbers_are_labels_of_a_regression(label):
    task = toy_task(metrics=["pearson"], regression=True)
    with pytest.raises(UserError, match=r"the train split, row 2: the label .* is not a (finite )?number such as 3"):
        prepared(["1", label], task=task)


def test_truth_values_and_numbers_beyond_float32_are_no_labels_of_a_regression():
    task = toy_task(metrics=["pearson"], regression=True)
    with pytest.raises(UserError, match=r"row 1: the label True is not a number such as 3"):
        prepared([True, False], task=task)
    with pytest.raises(UserError, match=r"row 1: the label '4e38' is not a number of float32"):
        prepared(["4e38", "1"], task=task)


def test_blanks_and_signs_around_the_number_of_a_regression_are_read():
    task = toy_task(metrics=["pearson"], regression=True)
    assert prepared([" 2.5 ", "-1e-3", "+.5", "3."], task=task)[1]["train"]["labels"][:] == pytest.approx(
        [2.5, -1e-3, 0.5, 3]
    )


def test_equal_labels_of_a_regression_are_noted(capsys):
    prepared(["1", "2"], ["3.0", "3.0"], task=toy_task(metrics=["pearson"], regression=True))
    assert (
        "all labels of the validation split are 3.0, so a correlation with them has no value" in capsys.readouterr().err
    )


def test_a_text_is_not_its_own_label(configured):
    with pytest.raises(
        UserError, match=r"task\.data\.label_column=text is a column of texts too; a model cannot learn"
    ):
        configured("task=text_classification", "task.data.label_column=text")
