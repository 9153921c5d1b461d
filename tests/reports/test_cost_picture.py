import pytest
from matplotlib.figure import Figure

from tests.reports.made_up import write_sweep
from tests.reports.runs import DENSE, plan, put
from winnow.reports.cost_picture import draw_costs
from winnow.reports.cost_plots import PARAMETERS, SPARSITY, CostPlot
from winnow.reports.results import collect


def drawn(folder, cost):
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    draw_costs(figure, CostPlot(collect([folder]).groups, cost))
    return figure


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_point_of_a_family_has_its_number_and_the_legend_its_name(tmp_path):
    figure = drawn(write_sweep(tmp_path / "sweep"), PARAMETERS)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert {"20", "97", "9", "dense"} <= set(words)
    assert legend(figure)[:4] == ["no teacher", "teacher: dense", "layers", "prune"]


def test_by_sparsity_the_axis_has_the_numbers_and_published_figures_are_hollow(tmp_path):
    figure = drawn(write_sweep(tmp_path / "sweep"), SPARSITY)
    assert {text.get_text() for text in figure.axes[0].texts} == {"dense"}
    assert "published" in legend(figure)


def test_sparsities_that_were_measured_come_before_round_ones_on_the_axis(tmp_path):
    put(tmp_path / "a", **DENSE)
    for percent in (72, 99):
        put(tmp_path / str(percent), recipe=f"prune{percent}", sparsity=percent / 100)
    ax = drawn(tmp_path, SPARSITY).axes[0]
    shown = {ax.xaxis.get_major_formatter()(tick, 0) for tick in ax.get_xticks()}
    assert {"0", "72", "99", "90"} <= shown
    assert "70" not in shown


def test_a_sparsity_near_none_is_written_short(tmp_path):
    put(tmp_path / "a", **DENSE | {"sparsity": 0.00065})
    put(tmp_path / "b")
    ax = drawn(tmp_path, SPARSITY).axes[0]
    assert ax.xaxis.get_major_formatter()(1 - 0.00065, 0) == "0.1"


@pytest.mark.parametrize(("model", "drawn_there"), [("bert_base", False), ("obert_pruned90", True)])
def test_what_others_made_of_another_sparse_start_is_not_drawn_at_the_sparsity_of_ours(tmp_path, model, drawn_there):
    words = {"task": "sst2", "model": model, "recipe": "transfer", "teacher": "dense"}
    kept = {"pruned": True, "one_shot": False, "pruning_epochs": 0.0}
    put(tmp_path / "a", **DENSE)
    put(tmp_path / "b", recipe="transfer", model="neuralmagic/oBERT-12-upstream-pruned-unstructured-90-v2", **kept)
    plan(tmp_path, {"folder": "b", **words}, published=[words | {"source": "S", "metrics": {"accuracy": 0.9}}])
    assert ("published" in legend(drawn(tmp_path, SPARSITY))) is drawn_there
