import pytest

from tests.reports.made_up import write_sweep
from tests.reports.runs import DENSE, deployed, failed, put
from winnow.reports.cost_plots import LATENCY, PARAMETERS, SIZE, SPARSITY, CostPlot, cost_plots, pareto_front
from winnow.reports.findings import findings
from winnow.reports.results import collect

# cost, score: 0 and 3 are beaten by 1, 4 by 2; 5 costs as much as 2 and scores less
POINTS = [(3, 70.0), (2, 80.0), (5, 90.0), (2, 75.0), (6, 90.0), (5, 85.0)]


def test_a_point_is_on_the_front_if_nothing_as_cheap_beats_it():
    assert pareto_front(POINTS) == [1, 2]


def test_costs_within_two_percent_count_as_equal():
    assert pareto_front([(1.0, 0.8), (1.019, 0.9)]) == [1]
    assert pareto_front([(1.0, 0.8), (1.021, 0.9)]) == [0, 1]


def test_where_smaller_scores_are_better_the_front_is_the_other_one():
    assert pareto_front(POINTS, smaller_is_better=True) == [3, 0]


def test_of_equal_points_one_is_on_the_front():
    assert len(pareto_front([(1, 0.5), (1, 0.5)])) == 1
    assert pareto_front([]) == []


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    return collect([write_sweep(tmp_path_factory.mktemp("sweep") / "a")]).groups


def test_where_layers_differ_parameters_come_before_sparsity(groups):
    plots, sentences = cost_plots(groups)
    costs = [plot.cost for plot in plots]
    assert costs == [PARAMETERS, SPARSITY, SIZE, LATENCY]
    assert sentences == []


def test_by_sparsity_only_models_with_all_layers_are_compared(groups):
    assert {group.recipe for group in CostPlot(groups, SPARSITY).groups} == {
        "dense",
        "prune20",
        "prune40",
        "prune60",
        "prune72",
    }


def test_models_without_some_heads_and_neurons_are_compared_by_parameters_and_not_by_sparsity(tmp_path):
    put(tmp_path / "a", **DENSE, nonzero_parameters=100_000_000)
    put(tmp_path / "b", nonzero_parameters=60_000_000)
    put(tmp_path / "c", recipe="fast2", structure={"target_speedup": 2.0}, nonzero_parameters=50_000_000)
    groups = collect([tmp_path]).groups
    assert {group.recipe for group in CostPlot(groups, SPARSITY).groups} == {"dense", "prune80"}
    assert {group.recipe for group in CostPlot(groups, PARAMETERS).groups} == {"dense", "prune80", "fast2"}
    assert cost_plots(groups)[0][0].cost is PARAMETERS
    assert "fast2" not in "".join(findings(groups))


def test_the_front_of_the_made_up_table_is_known(groups):
    labels = [group.label for group in CostPlot(groups, PARAMETERS).front]
    pruned = ["prune72, dense", "prune60, dense", "prune40, dense"]
    assert labels == ["layers6_prune97", "layers6_prune90, dense", "layers6_prune80, dense", *pruned]


def test_a_cost_that_was_not_measured_has_a_sentence_instead_of_a_plot(tmp_path):
    put(tmp_path / "a", **DENSE)
    put(tmp_path / "b")
    plots, sentences = cost_plots(collect([tmp_path]).groups)
    costs = [plot.cost for plot in plots]
    assert costs == [SPARSITY]
    assert sentences == ["There is no plot against compressed size: it was not measured.", sentences[1]]


def test_where_a_speedup_was_asked_for_latency_is_the_main_cost_if_most_were_measured(tmp_path):
    put(tmp_path / "a", **DENSE, deployment=deployed(2000, 4.0))
    put(tmp_path / "b", deployment=deployed(1000, 3.0))
    groups = collect([tmp_path]).groups
    assert cost_plots(groups)[0][0].cost is SPARSITY
    asked = {"recipe": "fast2", "structure": {"target_speedup": 2.0}}
    put(tmp_path / "c", **asked, deployment=deployed(1000, 2.0))
    assert [plot.cost for plot in cost_plots(collect([tmp_path]).groups)[0]] == [LATENCY, SPARSITY, SIZE]
    put(tmp_path / "a", **DENSE)
    put(tmp_path / "b")
    put(tmp_path / "d", recipe="fast4", deployment=deployed(1000, 1.0))
    assert cost_plots(collect([tmp_path]).groups)[0][0].cost is SPARSITY


def test_groups_that_lack_seeds_are_not_on_the_front(tmp_path):
    put(tmp_path / "a", **DENSE, cell="aa")
    put(tmp_path / "b", metrics={"accuracy": 0.95}, cell="bb")
    put(tmp_path / "c", seed=2, cell="bb", **failed())
    assert [group.label for group in CostPlot(collect([tmp_path]).groups, SPARSITY).front] == ["dense"]


def test_of_two_models_by_sparsity_each_has_all_its_own_layers(tmp_path):
    put(tmp_path / "a", model="large", layers=24)
    put(tmp_path / "b", model="base", layers=12)
    put(tmp_path / "c", model="base", layers=6, recipe="layers6")
    groups = collect([tmp_path]).groups
    assert [group.label for group in CostPlot(groups, SPARSITY).groups] == [
        "large, prune80, dense",
        "base, prune80, dense",
    ]


def test_latencies_that_cannot_be_compared_have_no_plot(tmp_path):
    put(tmp_path / "a", deployment=deployed(2000, 1.5))
    put(tmp_path / "b", recipe="prune90", deployment=deployed(2000, 1.0, cpu="Xeon"))
    plots, sentences = cost_plots(collect([tmp_path]).groups)
    costs = [plot.cost for plot in plots]
    assert LATENCY not in costs
    assert sentences[-1].startswith("There is no plot against latency: it was measured on different processors,")


def test_a_cost_that_is_the_same_everywhere_has_no_plot_either(tmp_path):
    put(tmp_path / "a")
    put(tmp_path / "b", recipe="movement80", deployment=deployed(2000, 1.5))
    sentences = cost_plots(collect([tmp_path]).groups)[1]
    assert "There is no plot against compressed size: it was measured for one configuration only." in sentences
    assert "There is no plot against encoder sparsity: it is the same everywhere." in sentences
