import pytest

from tests.reports.made_up import write_sweep
from tests.reports.runs import DENSE, failed, put
from winnow.reports.findings import findings
from winnow.reports.results import collect


def test_the_findings_of_the_made_up_table_are_known(tmp_path):
    said = findings(collect([write_sweep(tmp_path / "sweep")]).groups)
    assert said[0].startswith("dense: f1 88.")
    assert said[0].endswith("over 3 seeds.")
    assert "(layers6_prune90, dense)" in said[1]
    assert said[2].startswith(
        "Fewer layers: 3 of 4 configurations score worse"
    )  # layers9 beats prune40 to prune72 alone
    assert said[3].startswith("Teacher dense: 9 of 10 recipes score better with it than without, by +")
    assert said[3].endswith("; the difference exceeds a standard deviation over seeds in 10.")
    assert said[4:] == ["Configurations that lack seeds are not compared: 1 of 23."]  # one of layers1 failed


@pytest.mark.parametrize(("gain", "larger"), [(0.02, "1"), (0.01, "none")])
def test_the_gain_of_a_teacher_is_compared_with_the_deviation_over_seeds(tmp_path, gain, larger):
    for seed, score in enumerate((0.80, 0.82), 1):  # their standard deviation is 0.0141
        put(tmp_path / f"none{seed}", teacher="none", seed=seed, metrics={"accuracy": score})
        put(tmp_path / f"dense{seed}", seed=seed, metrics={"accuracy": score + gain})
    assert (
        f"Teacher dense: 1 of 1 recipes score better with it than without, by +{gain:.4f} accuracy; "
        f"the difference exceeds a standard deviation over seeds in {larger}."
    ) in findings(collect([tmp_path]).groups)


def test_of_two_models_each_is_compared_with_its_own_layers(tmp_path):
    for model, layers in (("large", 24), ("base", 12)):
        put(tmp_path / model, model=model, layers=layers, nonzero_parameters=layers * 1e6)
    put(tmp_path / "fewer", model="base", layers=6, recipe="layers6", sparsity=0.0, metrics={"accuracy": 0.7})
    said = findings(collect([tmp_path]).groups)
    assert [sentence for sentence in said if sentence.startswith("Fewer layers")] == [
        "Fewer layers: 1 of 1 configurations score worse than a pruned one with all layers, the same teacher and no "
        "more nonzero parameters."
    ]


def test_a_difference_that_the_table_rounds_away_is_no_gain(tmp_path):
    put(tmp_path / "a", teacher="none", metrics={"accuracy": 0.8})
    put(tmp_path / "b", metrics={"accuracy": 0.8 + 1e-9})
    assert "Teacher dense: 0 of 1 recipes score better with it than without." in (findings(collect([tmp_path]).groups))


def test_a_sparsity_below_1_is_never_called_100_percent(tmp_path):
    put(tmp_path / "a", sparsity=0.9996)
    put(tmp_path / "b", sparsity=0.8004, recipe="prune90", metrics={"accuracy": 0.9})
    assert findings(collect([tmp_path]).groups)[0] == (
        "Best at each encoder sparsity: 80 %: accuracy 0.9000 (prune90, dense); 99.96 %: accuracy 0.8800 "
        "(prune80, dense)."
    )


def test_a_single_seed_is_mentioned(tmp_path):
    put(tmp_path / "a", **DENSE)
    assert findings(collect([tmp_path]).groups)[-1] == (
        "There is one seed for each configuration, so small differences may be chance."
    )


def test_the_best_of_a_smaller_is_better_metric_is_the_smallest(tmp_path):
    put(tmp_path / "a", metrics={"perplexity": 9.0})
    put(tmp_path / "b", metrics={"perplexity": 8.0}, recipe="movement80")
    assert "80 %: perplexity 8.00 (movement80, dense)" in findings(collect([tmp_path]).groups)[0]


def test_a_main_metric_without_any_value_is_mentioned(tmp_path):
    put(tmp_path, metrics={"pearson": None, "spearmanr": 0.5})
    assert findings(collect([tmp_path]).groups) == ["No run has a value of pearson."]


def test_without_a_result_there_is_no_other_finding(tmp_path):
    put(tmp_path / "a", **failed())
    assert findings(collect([tmp_path]).groups) == ["No run has a result yet."]
