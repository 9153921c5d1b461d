import csv
import io
import math

import pytest

from tests.reports.runs import DENSE, deployed, failed, plan, put
from winnow.reports.plain_tables import csv_text, group_table, run_table
from winnow.reports.results import collect
from winnow.reports.tables import NOT_MEASURED, tables


def only_table(folder):
    (found,) = tables(collect([folder]))
    return found


def column(folder, title):
    found = only_table(folder)
    place = found.columns.index(title)
    return [line.cells[place].text for line in found.lines]


def best(folder, title):
    found = only_table(folder)
    place = found.columns.index(title)
    return [line.cells[place].mark == "best" for line in found.lines]


def put_seeds(folder, *accuracies, **changes):
    for seed, accuracy in enumerate(accuracies, 1):
        put(folder / f"seed{seed}", seed=seed, metrics={"accuracy": accuracy}, **changes)


def test_more_than_two_settings_share_a_column_which_leaves_out_defaults(tmp_path):
    own = {"recipe.num_epochs": "2", "dense.num_epochs": "1", "recipe.optimizer.learning_rate": "1e-4"}
    put(tmp_path / "a", settings=own, cell="a")
    put(tmp_path / "b", settings={}, cell="b")
    changed = "recipe.num_epochs=2, dense.num_epochs=1, learning_rate=1e-4"
    assert only_table(tmp_path).columns[:4] == ["recipe", "teacher", "settings", "seeds"]
    assert sorted(column(tmp_path, "settings")) == ["default", changed]


def test_a_line_has_mean_and_deviation_over_its_seeds(tmp_path):
    put_seeds(tmp_path / "a", 0.885, 0.887, 0.8875)
    put(tmp_path / "b", **DENSE)
    assert column(tmp_path, "accuracy") == ["0.9000", "0.8865 ± 0.0013"]
    assert column(tmp_path, "recovery, % (n=1)") == ["100.00", "98.33"]
    assert column(tmp_path, "seeds") == ["1", "3"]
    assert column(tmp_path, "encoder sparsity, %") == ["0.00", "80.00"]
    assert column(tmp_path, "parameters, M") == ["22.71", "22.71"]
    assert column(tmp_path, "training, h") == ["1.5", "1.5"]


def test_percentages_of_squad_have_two_digits_and_perplexities_too(tmp_path):
    put(tmp_path / "a", task="squad", metrics={"f1": 71.03793, "exact_match": 58.1992})
    assert (column(tmp_path, "f1"), column(tmp_path, "exact_match")) == (["71.04"], ["58.20"])
    put(tmp_path / "a", task="masked_lm", metrics={"perplexity": 12.3456, "accuracy": 0.51234})
    assert (column(tmp_path, "perplexity"), column(tmp_path, "accuracy")) == (["12.35"], ["0.5123"])


def test_columns_without_a_value_are_left_out(tmp_path):
    put(tmp_path / "a", layers=None)
    assert only_table(tmp_path).columns == [
        *("recipe", "teacher", "seeds", "accuracy", "encoder sparsity, %", "parameters, M", "nonzero, M"),
        *("epochs", "training, h"),
    ]


def test_sizes_are_in_megabytes_and_latencies_in_milliseconds(tmp_path):
    put(tmp_path / "a", deployment=deployed(91_040_000, 12.345))
    put(tmp_path / "b", recipe="prune90", deployment=deployed(23_260_000, 4.321))
    put(tmp_path / "c", recipe="prune95")
    assert column(tmp_path, "size, MB") == ["91.0", "23.3", NOT_MEASURED]
    assert column(tmp_path, "compressed, MB") == ["45.5", "11.6", NOT_MEASURED]
    assert column(tmp_path, "latency, ms") == ["12.35", "4.32", NOT_MEASURED]


def test_speedups_that_were_asked_for_and_measured_are_columns(tmp_path):
    measured = {"asked": 4.0, "measured": {"median": 4.056, "min": 3.9, "max": 4.2}}
    put(tmp_path / "a", structure={"target_speedup": 4.0}, deployment={"speedup": measured})
    put(tmp_path / "b", recipe="prune90", structure={"target_speedup": 2.0}, deployment={"speedup": {"measured": None}})
    put(tmp_path / "c", recipe="prune95", structure=None)
    assert column(tmp_path, "speedup asked, times") == ["4", "2", NOT_MEASURED]
    assert column(tmp_path, "speedup measured, times") == ["4.06", NOT_MEASURED, NOT_MEASURED]


def test_failed_and_missing_groups_say_so_in_every_column(tmp_path):
    put(tmp_path / "a", **failed())
    put(tmp_path / "c", recipe="prune95")
    jobs = [{"folder": "a"}, {"folder": "b", "recipe": "prune90", "seed": 7}, {"folder": "c", "recipe": "prune95"}]
    plan(tmp_path, *jobs, {"folder": "d", "recipe": "prune95", "seed": 2})
    found = only_table(tmp_path)
    assert column(tmp_path, "seeds") == ["failed: 1 of 1", "missing: seed 7", "1; missing: seed 2"]
    assert {cell.text for cell in found.lines[0].cells[found.num_names :]} == {"failed"}
    assert {cell.text for cell in found.lines[1].cells[found.num_names :]} == {"missing"}
    assert all(cell.text for line in found.lines for cell in line.cells)


def test_the_best_of_each_column_is_marked_and_never_over_tasks(tmp_path):
    put(tmp_path / "a", metrics={"accuracy": 0.8}, deployment=deployed(1_000_000, 2.0))
    put(tmp_path / "b", metrics={"accuracy": 0.7}, recipe="prune90", deployment=deployed(2_000_000, 1.0))
    put(tmp_path / "c", task="zzz", metrics={"accuracy": 0.9}, deployment=deployed(500_000, 0.5))
    first, second = tables(collect([tmp_path]))
    marked = {title: [line.cells[i].mark == "best" for line in first.lines] for i, title in enumerate(first.columns)}
    assert {title: marks for title, marks in marked.items() if any(marks)} == {
        "accuracy": [True, False],
        "size, MB": [True, False],
        "compressed, MB": [True, False],
        "latency, ms": [False, True],
    }
    assert not any(cell.mark == "best" for line in second.lines for cell in line.cells)


def test_own_data_are_named_by_their_file_and_never_compared_with_others(tmp_path):
    for name, accuracy in (("a", 0.8), ("b", 0.9)):
        data = {"task.data.files.train": f"'/data/{name}/train.csv'"}
        put(tmp_path / name, task="text_classification", settings=data, metrics={"accuracy": accuracy})
    found = tables(collect([tmp_path]))
    assert [table.title for table in found] == [f"text_classification: {name}/train.csv, minilm" for name in "ab"]
    assert not any(cell.mark == "best" for table in found for line in table.lines for cell in line.cells)


def test_smaller_perplexities_are_better(tmp_path):
    put(tmp_path / "a", metrics={"perplexity": 8.0})
    put(tmp_path / "b", metrics={"perplexity": 9.0}, recipe="prune90")
    assert best(tmp_path, "perplexity") == [True, False]


def test_a_mean_that_lacks_seeds_is_never_the_best(tmp_path):
    put(tmp_path / "a", metrics={"accuracy": 0.9}, cell="aa")
    put(tmp_path / "b", cell="aa", seed=2, **failed())
    put(tmp_path / "c", metrics={"accuracy": 0.8}, recipe="prune90")
    put(tmp_path / "d", metrics={"accuracy": 0.7}, recipe="prune95")
    assert best(tmp_path, "accuracy") == [False, True, False]


def test_a_mean_over_fewer_seeds_than_most_have_is_never_the_best(tmp_path):
    put(tmp_path / "lucky", metrics={"accuracy": 0.95}, cell="aa", recipe="prune95", deployment=deployed(500_000, 1.0))
    put_seeds(tmp_path / "b", 0.8, 0.82, cell="bb")
    put_seeds(tmp_path / "c", 0.7, 0.72, cell="cc", recipe="prune90")
    assert best(tmp_path, "accuracy") == [True, False, False]
    assert column(tmp_path, "accuracy") == ["0.8100 ± 0.0141", "0.7100 ± 0.0141", "0.9500"]


def test_a_mean_over_fewer_seeds_gives_their_number(tmp_path):
    put_seeds(tmp_path / "a", 0.8, 0.82, 0.84)
    put(tmp_path / "dense", **DENSE, deployment=deployed(500_000, 1.0))
    assert column(tmp_path, "seeds") == ["1", "3"]
    assert column(tmp_path, "recovery, % (n=1)") == ["100.00", "88.89"]
    put(tmp_path / "b", recipe="prune90", deployment=deployed(500_000, 1.0))
    put(tmp_path / "dense2", **DENSE, seed=2)
    assert column(tmp_path, "recovery, %") == ["100.00 ± 0.00", "90.00 ± 1.57 (n=2)", "97.78"]
    assert column(tmp_path, "size, MB (n=1)") == ["0.500", NOT_MEASURED, "0.500"]


def test_a_nonzero_value_is_never_rounded_to_zero(tmp_path):
    put(tmp_path / "a", metrics={"mean_squared_error": 0.00002, "accuracy": -0.0, "f1": -0.00002})
    assert column(tmp_path, "mean_squared_error") == ["2e-05"]
    assert (column(tmp_path, "accuracy"), column(tmp_path, "f1")) == (["0.0000"], ["-2e-05"])


def test_equal_rounded_values_are_all_best_or_none_if_all_are_equal(tmp_path):
    put(tmp_path / "a", metrics={"accuracy": 0.90001, "f1": 0.5})
    put(tmp_path / "b", metrics={"accuracy": 0.90002, "f1": 0.5}, recipe="prune90")
    put(tmp_path / "c", metrics={"accuracy": 0.8, "f1": 0.5}, recipe="prune95")
    assert best(tmp_path, "accuracy") == [True, True, False]
    assert best(tmp_path, "f1") == [False, False, False]


def test_the_dense_run_may_have_the_best_metric_but_not_the_best_recovery(tmp_path):
    put(tmp_path / "a", **DENSE)
    put(tmp_path / "b", metrics={"accuracy": 0.8})
    put(tmp_path / "c", metrics={"accuracy": 0.7}, recipe="prune90")
    assert best(tmp_path, "accuracy") == [True, False, False]
    assert best(tmp_path, "recovery, %") == [False, True, False]


def test_published_figures_are_below_ours_with_their_source_and_digits(tmp_path):
    put(tmp_path / "a", task="squad", metrics={"f1": 71.03793, "exact_match": 58.1992})
    row = {"source": "Sanh 2020", "task": "squad", "model": "bert_base", "recipe": "prune80", "teacher": "dense"}
    plan(
        tmp_path,
        {"folder": "a", "task": "squad"},
        published=[row | {"metrics": {"f1": 84.9, "exact_match": 76.498}, "note": "soft"}],
    )
    found = only_table(tmp_path)
    ours, theirs = ([cell.text for cell in line.cells] for line in found.lines)
    assert found.columns[:7] == ["model", "recipe", "teacher", "source", "seeds", "f1", "exact_match"]
    assert ours[:7] == ["minilm", "prune80", "dense", "ours", "1", "71.04", "58.20"]
    assert theirs[:8] == [
        "bert-base-uncased",
        "prune80",
        "dense",
        "Sanh 2020, soft",
        NOT_MEASURED,
        "84.9",
        "76.50",
        NOT_MEASURED,
    ]


def test_the_plain_table_has_figures_in_plain_units_with_deviation_and_number_of_seeds(tmp_path):
    put_seeds(tmp_path / "a", 0.5, 0.7)
    put(tmp_path / "b", recipe="prune90", **failed("no memory"))
    header, (pruned, lost) = group_table(collect([tmp_path]))
    good, bad = dict(zip(header, pruned, strict=True)), dict(zip(header, lost, strict=True))
    assert (good["accuracy"], good["accuracy_n"], good["sparsity"]) == (pytest.approx(0.6), 2, 0.8)
    assert good["accuracy_sd"] == pytest.approx(0.02**0.5)
    assert (good["source"], good["status"], good["seeds"]) == ("ours", "ok", 2)
    assert (bad["accuracy"], bad["accuracy_n"]) == (None, 0)
    assert bad["status"] == "failed: 1 of 1; seed 1: no memory"


def test_every_run_has_a_line_of_its_own(tmp_path):
    put(tmp_path / "a", test_metrics={"accuracy": 0.7}, deployment=deployed(2000, 1.5))
    put(tmp_path / "b", seed=2, **failed("no memory"))
    plan(tmp_path, {"folder": "a"}, {"folder": "b", "seed": 2}, {"folder": "c", "seed": 3})
    header, lines = run_table(collect([tmp_path]))
    good, bad, absent = (dict(zip(header, line, strict=True)) for line in lines)
    assert (good["seed"], good["status"], good["folder"]) == (1, "ok", str(tmp_path / "a"))
    assert (good["accuracy"], good["accuracy (test)"], good["bytes"], good["latency"]) == (0.88, 0.7, 2000, 0.0015)
    assert (bad["seed"], bad["status"], bad["error"], bad["accuracy"]) == (2, "failed", "no memory", None)
    assert (absent["seed"], absent["status"], absent["accuracy"]) == (3, "missing", None)


def test_csv_keeps_every_sign_and_says_nan_for_what_was_not_measured():
    words = 'a, "b"\n;c\u2028é'
    text = csv_text(["name", "value"], [[words, None], ["", 0.1]])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["name"] == words
    assert math.isnan(float(rows[0]["value"]))
    assert (rows[1]["name"], rows[1]["value"]) == ("", "0.1")
    assert csv_text(["name"], [["a\rb"]]) == "name\na b\n"  # no reader takes it for the end of a line


def test_a_spreadsheet_computes_no_text_of_a_csv_file():
    texts = ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "-0.5", "+1e-5", "a=b"]
    rows = list(csv.reader(io.StringIO(csv_text(["=1", "n"], [[text, -0.5] for text in texts]))))
    assert rows == [
        ["'=1", "n"],
        *([f"'{text}", "-0.5"] for text in texts[:5]),
        *([text, "-0.5"] for text in texts[5:]),
    ]
