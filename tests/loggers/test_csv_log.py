import pytest

from winnow.loggers.csv_log import CSVLog
from winnow.loggers.history import read_rows


@pytest.fixture
def logged(tmp_path):
    """Three steps, a validation after the third, a fourth step, as Lightning and a modifier count them."""
    first = CSVLog(tmp_path)
    for step in range(3):
        first.log_metrics({"train/loss": 0.5, "epoch": 0}, step=step)
        first.log_metrics({"pruning/sparsity": 0.1 * (step + 1)}, step=step + 1)
    first.log_metrics({"val/accuracy": 0.75, "epoch": 0}, step=2)
    first.log_metrics({"train/loss": 0.5, "epoch": 1}, step=3)
    return tmp_path


def steps(folder):
    rows = read_rows(folder / "logs" / "metrics.csv")
    return {
        name: [int(row["step"]) for row in rows if name in row]
        for name in ("train/loss", "pruning/sparsity", "val/accuracy")
    }


def test_a_new_log_in_the_folder_keeps_the_rows_of_the_one_before(logged):
    before = read_rows(logged / "logs" / "metrics.csv")
    second = CSVLog(logged)
    second.log_metrics({"train/loss": 0.25, "other": 1.0}, step=4)
    assert read_rows(logged / "logs" / "metrics.csv") == [*before, {"train/loss": "0.25", "other": "1.0", "step": "4"}]


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (0, {"train/loss": [], "pruning/sparsity": [], "val/accuracy": []}),
        (2, {"train/loss": [0, 1], "pruning/sparsity": [1, 2], "val/accuracy": []}),
        (3, {"train/loss": [0, 1, 2], "pruning/sparsity": [1, 2, 3], "val/accuracy": []}),
        (4, {"train/loss": [0, 1, 2, 3], "pruning/sparsity": [1, 2, 3], "val/accuracy": [2]}),
    ],
)
def test_rows_that_a_resumed_run_logs_again_are_removed(logged, step, kept):
    second = CSVLog(logged)
    second.cut(step)
    assert steps(logged) == kept
    second.log_metrics({"train/loss": 0.5, "epoch": 1}, step=step)
    assert steps(logged)["train/loss"] == [*kept["train/loss"], step]


def test_an_incomplete_row_is_left_out(logged):
    path = logged / "logs" / "metrics.csv"
    rows = read_rows(path)
    path.write_text(path.read_text()[:-3])
    assert read_rows(path) == rows[:-1]
