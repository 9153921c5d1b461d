import math

import pytest
import torch

from tests.tasks.label_outputs import collected
from tests.toys import toy_task

LOG3 = math.log(3)  # of the odds of 3/4


def named(labels, **settings):
    task = toy_task(**settings)
    task.labels = labels
    return task


def odds(*probabilities):
    """Logits of two labels that give the second these probabilities."""
    return torch.tensor([[0.0, math.log(p / (1 - p))] for p in probabilities])


def test_the_report_counts_each_label_and_each_confusion():
    """True a a a b b c, predicted a a b b a a."""
    task = named(["a", "b", "c"])
    logits = torch.eye(3)[torch.tensor([0, 0, 1, 1, 0, 0])]
    metrics = collected(task, logits, {"text": list("uvwxyz"), "labels": [0, 0, 0, 1, 1, 2]})
    report = task.prediction_files(metrics)["class_report.json"]
    assert report["confusion_matrix"] == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert [each["label"] for each in report["classes"]] == ["a", "b", "c"]
    assert [each["support"] for each in report["classes"]] == [3, 2, 1]
    assert [each["predicted"] for each in report["classes"]] == [4, 2, 0]
    assert [each["precision"] for each in report["classes"]] == [0.5, 0.5, 0.0]
    assert [each["recall"] for each in report["classes"]] == pytest.approx([2 / 3, 0.5, 0])
    assert [each["f1"] for each in report["classes"]] == pytest.approx([4 / 7, 0.5, 0])


def test_several_labels_of_a_row_have_no_confusion_matrix():
    task = named(["a", "b"], multi_label=True, metrics=["f1"])
    logits = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
    metrics = collected(task, logits, {"text": ["x", "y", "z"], "labels": [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]})
    assert task.prediction_files(metrics)["class_report.json"] == {
        "classes": [
            {"label": "a", "f1": pytest.approx(2 / 3), "precision": 1.0, "recall": 0.5, "support": 2, "predicted": 1},
            {"label": "b", "f1": pytest.approx(2 / 3), "precision": 0.5, "recall": 1.0, "support": 1, "predicted": 2},
        ]
    }


def test_each_row_has_a_line_with_its_prediction_and_its_true_label():
    task = named(["no", "yes"])
    lines = list(task.predictions(collected(task, odds(0.75, 0.25), {"text": ["x", "y"], "labels": [1, 1]})))
    assert lines[1] == {
        "text": "y", "label": "no", "score": 0.75, "scores": {"no": 0.75, "yes": 0.25}, "true_label": "yes",
    }  # fmt: skip
    task = named(["a", "b"], multi_label=True, metrics=["f1"])
    (line,) = task.predictions(collected(task, torch.tensor([[LOG3, 0.0]]), {"text": ["x"], "labels": [[1.0, 1.0]]}))
    assert (line["labels"], line["true_labels"]) == ([{"label": "a", "score": 0.75}], ["a", "b"])
    task = toy_task(regression=True, metrics=["pearson"])
    (line,) = task.predictions(collected(task, torch.tensor([[2.5]]), {"text": ["x"], "labels": [3.0]}))
    assert line == {"text": "x", "value": 2.5, "true_value": 3.0}


def test_windows_are_joined_by_the_mean_of_probabilities_and_for_several_labels_by_the_maximum():
    """The first text has the probabilities .9, .2 and .1 of the second label, mean .4, the second .6."""
    windows = {"examples": [0, 0, 0, 1]}
    task = named(["no", "yes"])
    metrics = collected(task, odds(0.9, 0.2, 0.1, 0.6), {"text": ["x", "y"], "labels": [0, 1]}, **windows)
    assert [line["scores"]["yes"] for line in task.predictions(metrics)] == pytest.approx([0.4, 0.6], abs=1e-6)
    assert float(metrics.compute()["accuracy"]) == 1
    task = named(["a", "b"], multi_label=True, metrics=["accuracy"])
    logits = torch.tensor([[LOG3, -LOG3], [-LOG3, -LOG3], [-1.0, -1.0], [-1.0, LOG3]])
    metrics = collected(task, logits, {"text": ["x", "y"], "labels": [[1.0, 0.0], [0.0, 1.0]]}, **windows)
    assert [line["scores"]["a"] for line in task.predictions(metrics)] == pytest.approx([0.75, 0.268941])
    assert float(metrics.compute()["accuracy"]) == 1


def test_the_tuned_threshold_has_the_best_first_metric_and_is_the_nearest_to_one_half():
    """The rows with the label have .2945 and .4, those without it .1 and .2; tried are steps of .003 from .1 to .4."""
    split = {"text": list("wxyz"), "labels": [0, 0, 1, 1]}
    task = named(["no", "yes"], metrics=["f1"], threshold="tuned")
    metrics = collected(task, odds(0.1, 0.2, 0.2945, 0.4), split)
    assert float(metrics.compute()["f1"]) == 0
    task.threshold = task.best_threshold(metrics)
    assert task.threshold == pytest.approx(0.292)
    metrics = collected(task, odds(0.1, 0.2, 0.2945, 0.4), split)
    assert float(metrics.compute()["f1"]) == 1
    assert [(line["label"], line["score"]) for line in task.predictions(metrics)][-1] == ("yes", 0.4)


@pytest.mark.parametrize(("threshold", "label"), [(0.5, "no"), (0.3, "yes")])
def test_the_second_of_two_labels_is_predicted_above_the_threshold(threshold, label):
    task = named(["no", "yes"], threshold=threshold)
    window = {"score": torch.tensor([0.6, 0.4]).numpy(), "truncated": False}
    assert task.row_prediction({}, [window], 2)["label"] == label
