import pytest

from tests.reports.made_up import write_sweep
from tests.reports.runs import DENSE, deployed, failed, put
from winnow.reports.pareto import LATENCY, PARAMETERS, SIZE, SPARSITY, front, front_cells, measured, pictures
from winnow.reports.results import collect

# cost, score: 0 and 3 are beaten by 1, 4 by 2; 5 costs as much as 2 and scores less
POINTS = [(3, 70.0), (2, 80.0), (5, 90.0), (2, 75.0), (6, 90.0), (5, 85.0)]


def test_on_the_front_is_what_nothing_as_cheap_beats():
    assert front(POINTS) == [1, 2]


def test_a_cost_that_is_two_percent_lower_is_the_same():
    assert front([(1.0, 0.8), (1.019, 0.9)]) == [1]
    assert front([(1.0, 0.8), (1.021, 0.9)]) == [0, 1]


def test_where_smaller_scores_are_better_the_front_is_the_other_one():
    assert front(POINTS, smaller_is_better=True) == [3, 0]


def test_of_equal_points_one_is_on_the_front():
    assert len(front([(1, 0.5), (1, 0.5)])) == 1
    assert front([]) == []


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return collect([write_sweep(tmp_path_factory.mktemp("sweep") / "a")]).cells


def test_where_layers_differ_parameters_come_before_sparsity(cells):
    costs, words = pictures(cells)
    assert costs == [PARAMETERS, SPARSITY, SIZE, LATENCY]
    assert words == []


def test_by_sparsity_only_models_with_all_layers_are_compared(cells):
    assert {cell.recipe for cell in measured(cells, SPARSITY)} == {"dense", "prune20", "prune40", "prune60", "prune72"}


def test_the_front_of_the_made_up_table_is_known(cells):
    labels = [cell.label for cell in front_cells(cells, PARAMETERS)]
    pruned = ["prune72, dense", "prune60, dense", "prune40, dense"]
    assert labels == ["layers6_prune97", "layers6_prune90, dense", "layers6_prune80, dense", *pruned]


def test_a_cost_that_nobody_measured_has_no_picture_but_a_word(tmp_path):
    put(tmp_path / "a", **DENSE)
    put(tmp_path / "b")
    costs, words = pictures(collect([tmp_path]).cells)
    assert costs == [SPARSITY]
    assert words == ["No picture against packed size: it was not measured.", words[1]]


def test_cells_that_lack_seeds_are_not_on_the_front(tmp_path):
    put(tmp_path / "a", **DENSE, cell="aa")
    put(tmp_path / "b", metrics={"accuracy": 0.95}, cell="bb")
    put(tmp_path / "c", seed=2, cell="bb", **failed())
    assert [cell.label for cell in front_cells(collect([tmp_path]).cells, SPARSITY)] == ["dense"]


def test_of_two_models_by_sparsity_each_has_all_its_own_layers(tmp_path):
    put(tmp_path / "a", model="large", layers=24)
    put(tmp_path / "b", model="base", layers=12)
    put(tmp_path / "c", model="base", layers=6, recipe="layers6")
    cells = collect([tmp_path]).cells
    assert [cell.label for cell in measured(cells, SPARSITY)] == ["large, prune80, dense", "base, prune80, dense"]


def test_latencies_that_cannot_be_compared_have_no_picture(tmp_path):
    put(tmp_path / "a", deployment=deployed(2000, 1.5))
    put(tmp_path / "b", recipe="prune90", deployment=deployed(2000, 1.0, cpu="Xeon"))
    costs, words = pictures(collect([tmp_path]).cells)
    assert LATENCY not in costs
    assert words[-1] == "No picture against latency: it is of unlike processors, threads or lengths."


def test_a_cost_that_is_the_same_everywhere_has_none_either(tmp_path):
    put(tmp_path / "a")
    put(tmp_path / "b", recipe="movement80", deployment=deployed(2000, 1.5))
    words = pictures(collect([tmp_path]).cells)[1]
    assert "No picture against packed size: it was measured of one cell alone." in words
    assert "No picture against encoder sparsity: it is the same everywhere." in words
