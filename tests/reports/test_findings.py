import pytest

from src.reports.findings import findings
from src.reports.results import collect
from tests.reports.made_up import write_sweep
from tests.reports.runs import DENSE, failed, put


def test_the_made_up_table_says_what_it_was_made_to_say(tmp_path):
    said = findings(collect([write_sweep(tmp_path / "sweep")]).cells)
    assert said[0].startswith("dense: f1 88.")
    assert said[0].endswith("over 3 seeds.")
    assert "(layers6_prune90, dense)" in said[1]
    assert said[2].startswith("Fewer layers: 3 of 4 cells score worse")  # layers9 beats prune40 to prune72 alone
    assert said[3].startswith("Teacher dense: 10 of 11 recipes score better with it than without, by -8.")  # layers3


@pytest.mark.parametrize(("gain", "larger"), [(0.02, "1"), (0.01, "none")])
def test_what_a_teacher_brings_is_held_against_the_spread_over_seeds(tmp_path, gain, larger):
    for seed, score in enumerate((0.80, 0.82), 1):  # their standard deviation is 0.0141
        put(tmp_path / f"none{seed}", teacher="none", seed=seed, metrics={"accuracy": score})
        put(tmp_path / f"dense{seed}", seed=seed, metrics={"accuracy": score + gain})
    assert (
        f"Teacher dense: all 1 recipes score better with it than without, by +{gain:.4f} to +{gain:.4f} accuracy; "
        f"{larger} of these by more than a standard deviation over seeds."
    ) in findings(collect([tmp_path]).cells)


def test_figures_of_one_seed_are_called_that(tmp_path):
    put(tmp_path / "a", **DENSE)
    assert findings(collect([tmp_path]).cells)[-1] == "One seed each: small differences may be chance."


def test_the_best_of_a_smaller_is_better_metric_is_the_smallest(tmp_path):
    put(tmp_path / "a", metrics={"perplexity": 9.0})
    put(tmp_path / "b", metrics={"perplexity": 8.0}, recipe="movement80")
    assert "80 %: perplexity 8.00 (movement80, dense)" in findings(collect([tmp_path]).cells)[0]


def test_without_a_result_nothing_is_claimed(tmp_path):
    put(tmp_path / "a", **failed())
    assert findings(collect([tmp_path]).cells) == ["No run has a result yet."]
