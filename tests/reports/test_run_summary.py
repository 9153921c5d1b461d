from pathlib import Path

from winnow.reports.run_summary import comparison, summary
from winnow.training.progress import progress_texts

ROW = {
    "recipe": "prune80",
    "model": "tiny",
    "task": "demo",
    "teacher": "dense",
    "metrics": {"accuracy": 0.95},
    "test_metrics": {"accuracy": 0.94},
    "sparsity": 0.8,
    "parameters": 12345,
    "nonzero_parameters": 2345,
    "train_seconds": 90.4,
}
DENSE = {
    **ROW,
    "recipe": "dense",
    "teacher": "none",
    "metrics": {"accuracy": 0.97},
    "sparsity": 0.0,
    "train_seconds": 7.25,
}


def cells(text, label):
    return next(line for line in text.splitlines() if line.startswith(label))[len(label) :].split()


def test_the_summary_sets_the_pruned_model_beside_the_dense_one():
    text = summary(ROW, Path("out/run"), (Path("out/dense"), DENSE))
    assert text.startswith("prune80 of tiny on demo, teacher dense\n---")
    assert cells(text, "accuracy ") == ["0.9700", "0.9500", "-0.0200"]
    assert cells(text, "accuracy (test)") == ["0.9400", "0.9400", "+0.0000"]
    assert cells(text, "encoder sparsity") == ["0.00", "%", "80.00", "%"]
    assert cells(text, "training time") == ["7.2", "s", "1", "min", "30", "s"]
    assert cells(text, "model") == ["out/run/model"]
    assert cells(text, "dense  ") == ["out/dense"]


def test_a_tuned_threshold_is_shown_beside_that_of_the_dense_run():
    text = summary(ROW | {"decision_threshold": 0.37}, Path("out/run"), (Path("out/dense"), DENSE))
    assert cells(text, "threshold") == ["0.5", "0.37"]


def test_a_metric_without_a_value_is_a_dash():
    text = summary(ROW | {"metrics": {"pearson": None}}, Path("out/run"), (Path("out/dense"), DENSE))
    assert cells(text, "pearson ") == ["-", "-"]
    both = comparison({"validation": {"pearson": None}}, {"validation": {"pearson": None}}, "PyTorch")
    assert cells(both, "validation pearson") == ["-", "-"]
    assert progress_texts({"pearson": float("nan")}) == {"pearson": "-"}


def test_without_a_dense_run_there_is_one_column():
    text = summary(ROW, Path("out/run"), None)
    assert cells(text, "accuracy ") == ["0.9500"]
    assert cells(text, "nonzero") == ["2,345"]
    assert "out/dense" not in text


def test_a_metric_that_the_dense_run_lacks_has_no_difference():
    text = summary({**ROW, "metrics": {"f1": 0.5}}, Path("out/run"), (Path("out/dense"), DENSE))
    assert cells(text, "f1") == ["-", "0.5000"]


def test_a_model_with_one_prediction_for_all_is_named():
    text = summary({**ROW, "constant_prediction": "negative"}, Path("out/run"), None)
    assert "\ncaution  the model predicts 'negative' for every input; " in text
    assert "caution" not in summary({**ROW, "constant_prediction": ""}, Path("out/run"), None)


def test_what_is_measured_stands_beside_what_was_recorded():
    text = comparison({"validation": {"accuracy": 0.5, "f1": 0.25}}, {"validation": {"accuracy": 0.5}}, "openvino")
    assert cells(text, "") == ["measured", "now", "(openvino)", "recorded", "by", "the", "run", "(PyTorch)"]
    assert cells(text, "validation accuracy") == ["0.500000", "0.500000"]
    assert cells(text, "validation f1") == ["0.250000", "-"]


def test_progress_shows_sparsity_in_percent():
    assert progress_texts({"sparsity": 0.8, "loss": 0.12345}) == {"sparsity": "80.0%", "loss": "0.1235"}
