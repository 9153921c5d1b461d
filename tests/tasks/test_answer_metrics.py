import math

import pytest
import torch
from datasets import Dataset
from torchmetrics import MetricCollection

from winnow.tasks.answer_metrics import AnswerMetrics

CONTEXT = "the old mill stood by the river"
OLD, MILL, RIVER = (4, 7), (8, 12), (26, 31)
V2 = ["f1", "exact_match", "f1_has_answer", "exact_match_has_answer", "f1_no_answer", "exact_match_no_answer"]


def split_of(*answers):
    """One question about the same context for each list of correct answers."""
    rows = [{"text": list(texts), "answer_start": [0] * len(texts)} for texts in answers]
    count = len(rows)
    return Dataset.from_dict({"id": [f"q{i}" for i in range(count)], "context": [CONTEXT] * count, "answers": rows})


def metrics_of(split, *windows, names=("exact_match", "f1"), n_best=3, unanswerable=False, threshold=0.0):
    """Metrics updated with windows of (question, {span: score}, score of "no answer"), one in each batch."""
    metrics = AnswerMetrics(
        split, names=names, n_best=n_best, unanswerable=unanswerable, null_score_diff_threshold=threshold
    )
    for example, spans, null_score in windows:
        half = torch.tensor([[score / 2 for score in spans.values()]])
        metrics.update(
            example=torch.tensor([example]),
            first_char=torch.tensor([[first for first, _ in spans]]),
            last_char=torch.tensor([[last for _, last in spans]]),
            start_logit=half,
            end_logit=half,
            null_start=torch.tensor([null_score / 2]),
            null_end=torch.tensor([null_score / 2]),
        )
    return metrics


def values(metrics):
    return {name: float(value) for name, value in metrics.compute().items()}


def test_the_best_answer_of_all_windows_is_predicted_and_equal_spans_are_merged():
    split = split_of(["mill"])
    metrics = metrics_of(split, (0, {OLD: 1.0, MILL: 2.0}, 9.0), (0, {MILL: 4.0, RIVER: 3.0}, 9.0))
    files = metrics.prediction_files()
    assert files["predictions.json"] == {"q0": "mill"}
    best = files["nbest_predictions.json"]["q0"]
    assert [(c["text"], c["start"], c["end"]) for c in best] == [("mill", 8, 12), ("river", 26, 31), ("old", 4, 7)]
    assert [c["probability"] for c in best] == pytest.approx([0.7053845, 0.2594965, 0.0351190])  # softmax of 4, 3, 1
    assert "null_odds.json" not in files
    assert values(metrics) == {"exact_match": 100.0, "f1": 100.0}


def test_scores_are_means_over_questions_in_percent():
    split = split_of(["old mill", "mill"], ["the big river"], ["barn"])
    metrics = metrics_of(split, (2, {OLD: 1.0}, 0.0), (0, {MILL: 1.0}, 0.0), (1, {RIVER: 1.0}, 0.0))
    # mill: 1; river against big river: precision 1, recall 1/2; old against barn: 0
    assert values(metrics) == pytest.approx({"exact_match": 100 / 3, "f1": 100 * (1 + 2 / 3) / 3})


def test_without_unanswerable_questions_the_score_of_no_answer_is_ignored():
    assert metrics_of(split_of(["mill"]), (0, {MILL: 1.0}, 50.0)).prediction_files()["predictions.json"] == {
        "q0": "mill"
    }


def v2(threshold=0.0):
    """Answerable with an answer, and without; unanswerable without an answer, and with one."""
    split = split_of(["mill"], ["old mill"], [], [])
    windows = [
        (0, {MILL: 3.0}, 1.0),
        (1, {MILL: 1.0}, 3.0),
        (2, {MILL: 1.0}, 3.0),
        (3, {MILL: 3.0}, 1.0),
    ]
    return metrics_of(split, *windows, names=V2, unanswerable=True, threshold=threshold)


def test_no_answer_is_predicted_if_its_score_is_higher():
    files = v2().prediction_files()
    assert files["predictions.json"] == {"q0": "mill", "q1": "", "q2": "", "q3": "mill"}
    assert files["null_odds.json"] == {"q0": -2.0, "q1": 2.0, "q2": 2.0, "q3": -2.0}
    assert [c["text"] for c in files["nbest_predictions.json"]["q1"]] == ["", "mill"]


def test_v2_metrics_are_also_computed_for_answerable_and_unanswerable_questions_alone():
    assert values(v2()) == {
        "f1": 50.0, "exact_match": 50.0, "f1_has_answer": 50.0, "exact_match_has_answer": 50.0,
        "f1_no_answer": 50.0, "exact_match_no_answer": 50.0,
    }  # fmt: skip


@pytest.mark.parametrize(("threshold", "has_f1", "no_f1"), [(2.5, 100 * (1 + 2 / 3) / 2, 0.0), (-2.5, 0.0, 100.0)])
def test_the_threshold_decides_between_an_answer_and_no_answer(threshold, has_f1, no_f1):
    found = values(v2(threshold))
    assert (found["f1_has_answer"], found["f1_no_answer"]) == pytest.approx((has_f1, no_f1))


def test_the_score_of_no_answer_is_the_lowest_of_all_windows():
    split = split_of(["mill"])
    metrics = metrics_of(split, (0, {OLD: 1.0}, 8.0), (0, {MILL: 3.0}, 2.0), unanswerable=True)
    assert metrics.prediction_files()["null_odds.json"] == {"q0": -1.0}


def test_the_metric_of_a_group_without_questions_is_nan():
    metrics = metrics_of(split_of(["mill"]), (0, {MILL: 1.0}, 0.0), names=["f1_no_answer"], unanswerable=True)
    assert math.isnan(values(metrics)["f1_no_answer"])


def test_a_window_without_context_tokens_has_an_empty_answer():
    metrics = metrics_of(split_of(["mill"]), (0, {MILL: -math.inf}, 0.0))
    assert metrics.prediction_files()["predictions.json"] == {"q0": ""}
    assert values(metrics) == {"exact_match": 0.0, "f1": 0.0}


def test_a_reset_removes_all_collected_windows():
    metrics = MetricCollection({"answers": metrics_of(split_of(["mill"], ["old"]), (0, {OLD: 1.0}, 0.0))})
    metrics.reset()
    metrics["answers"].update(
        example=torch.tensor([1]), first_char=torch.tensor([[4]]), last_char=torch.tensor([[7]]),
        start_logit=torch.ones(1, 1), end_logit=torch.ones(1, 1), null_start=torch.ones(1), null_end=torch.ones(1),
    )  # fmt: skip
    assert {name: float(value) for name, value in metrics.compute().items()} == {"exact_match": 100.0, "f1": 100.0}
