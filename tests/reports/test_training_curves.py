import pytest
from matplotlib.figure import Figure

from winnow.loggers.history import History
from winnow.reports.plot_style import teacher_looks
from winnow.reports.training_curves import draw_curves

LOOK = teacher_looks(["none"])["none"]


@pytest.mark.parametrize(("epochs", "marker"), [([1.0], "o"), ([1.0, 2.0], "None")])
def test_a_run_that_was_validated_once_is_seen(epochs, marker):
    figure = Figure(figsize=(4.2, 3.3))
    draw_curves(figure, [(LOOK, [History([(epoch, 0.8) for epoch in epochs], [(0.5, 1.0)], [])])], "accuracy")
    (line,) = figure.axes[0].get_lines()
    assert line.get_marker() == marker


def test_where_no_loss_was_logged_there_is_no_panel_for_it():
    figure = Figure(figsize=(4.2, 3.3))
    draw_curves(figure, [(LOOK, [History([(1.0, 0.8)], [], [])])], "accuracy")
    (score,) = figure.axes
    assert score.get_xlabel() == "epoch"
