from tests.reports.runs import DENSE, failed, put
from winnow.reports.markdown import markdown
from winnow.reports.results import collect


def text_of(folder):
    return markdown(collect([folder]))


def test_the_table_is_one_that_github_renders_and_a_terminal_aligns(tmp_path):
    put(tmp_path / "a", **DENSE, layers=None, parameters=None, nonzero_parameters=None, train_seconds=None)
    put(tmp_path / "b", layers=None, parameters=None, nonzero_parameters=None, train_seconds=None)
    assert text_of(tmp_path) == (
        "# Results\n"
        "\n"
        "## sst2, minilm\n"
        "\n"
        "| recipe  | teacher | seeds |   accuracy | recovery, % | encoder sparsity, % | epochs |\n"
        "| ------- | ------- | ----- | ---------: | ----------: | ------------------: | -----: |\n"
        "| dense   | none    | 1     | **0.9000** |      100.00 |                0.00 |      6 |\n"
        "| prune80 | dense   | 1     |     0.8800 |       97.78 |               80.00 |      6 |\n"
    )


def test_markdown_in_names_is_escaped(tmp_path):
    put(tmp_path / "a", recipe="a|b*c*_d_ <i> `e` &lt; prune80_quant")
    assert r"a\|b\*c\*\_d\_ \<i\> \`e\` \&lt; prune80_quant" in text_of(tmp_path)


def test_each_reason_of_a_failure_is_given_once_below(tmp_path):
    for seed in (1, 2):
        put(tmp_path / f"{seed}", seed=seed, **failed("`x` is\n|not| finite"))
    put(tmp_path / "3", seed=3, **failed("no memory"))
    assert text_of(tmp_path).endswith(
        "## Failed\n"
        "\n"
        "- sst2: prune80, dense, seed 1, 2: `'x' is |not| finite`\n"
        "- sst2: prune80, dense, seed 3: `no memory`\n"
    )


def test_what_was_left_out_is_listed_at_the_end(tmp_path):
    put(tmp_path / "a")
    put(tmp_path / "b", task=None)
    assert text_of(tmp_path).endswith(
        f"## Left out\n\n- {tmp_path}/b/result.json is not a valid row: task is missing.\n"
    )
