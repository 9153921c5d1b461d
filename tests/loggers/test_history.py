import pytest

from tests.reports.made_up import write_run
from winnow.loggers.history import EVENTS, METRICS, read_history

WORDS = {"task": "squad", "model": "bert_base", "recipe": "prune72", "teacher": "dense", "seed": 1}


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run", WORDS)


def test_points_have_the_epochs_of_the_run(folder):
    history = read_history(folder, "f1", 10.0)
    assert [epoch for epoch, _ in history.metric] == pytest.approx(range(1, 11))
    assert len(history.loss) == 40


def test_the_first_and_the_last_of_many_similar_events_are_named(folder):
    names = [name for _, name in read_history(folder, "f1", 10.0).events]
    assert names == ["teacher", "pruning", "masks frozen"]


def test_a_file_that_is_cut_short_shows_what_it_has(folder):
    path = folder / METRICS
    path.write_text("\n".join(path.read_text().splitlines()[:31]) + "\n6,24,0.0")
    history = read_history(folder, "f1", 10.0)
    assert [epoch for epoch, _ in history.metric] == pytest.approx(range(1, 7))
    assert len(history.loss) == 24


@pytest.mark.parametrize(
    "text", ["", "epoch,step\n", "epoch,step,val/f1\n0,x,3\n", "epoch,step,val/f1\n0,-1,3\n", "\0\0\n\0\n"]
)
def test_without_readable_metrics_there_is_no_history(folder, text):
    (folder / METRICS).write_text(text)
    assert read_history(folder, "f1", 10.0) is None


def test_values_that_cannot_be_drawn_are_left_out(folder):
    lines = ["epoch,step,train/loss,val/f1", "0,0,nan,", "0,1,0.5,inf", "0,2,1e300,", "0,3,,0.7", ""]
    (folder / METRICS).write_text("\n".join(lines))
    (folder / EVENTS).write_text('[{"epoch": NaN, "modifier": "pruning", "change": "prunes"}]')
    history = read_history(folder, "f1", 10.0)
    assert (history.metric, history.loss, history.events) == ([(1.0, 0.7)], [(0.5, 0.5)], [])


def test_a_metric_that_was_not_logged_has_no_history(folder):
    assert read_history(folder, "accuracy", 10.0) is None


@pytest.mark.parametrize("text", ["", "{}", '[{"step": 1}]', '[{"epoch": "x"'])
def test_damaged_events_leave_the_curves(folder, text):
    (folder / EVENTS).write_text(text)
    assert read_history(folder, "f1", 10.0).events == []
