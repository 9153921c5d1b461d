from pathlib import Path

import pytest

from tests.reports.made_up import write_sweep
from tests.reports.runs import DENSE, failed, put
from winnow.reports.markdown import markdown
from winnow.reports.plain_tables import csv_text, run_table
from winnow.reports.results import collect
from winnow.reports.terminal_report import on_screen

FILES = [Path("report/report.md"), Path("report/report.csv")]


@pytest.fixture
def columns(monkeypatch):
    def set_columns(number):
        monkeypatch.setenv("COLUMNS", str(number))

    monkeypatch.delenv("COLUMNS", raising=False)
    return set_columns


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_table_is_no_wider_than_the_terminal_and_names_the_columns_that_do_not_fit(tmp_path, columns, width):
    columns(width)
    lines = on_screen(collect([write_sweep(tmp_path / "sweep")]), FILES).splitlines()
    assert max(len(line) for line in lines if line.startswith("|")) <= width
    assert any("88.06 ± 0.10 |" in line for line in lines)  # the main metric is always shown
    (hidden,) = [line for line in lines if line.startswith("Columns that do not fit: ")]
    assert hidden.endswith("training, min; see report/report.md")


def test_a_file_has_all_columns_and_no_colours(tmp_path, columns):
    text = on_screen(collect([write_sweep(tmp_path / "sweep")]), FILES)
    assert "do not fit" not in text
    assert "| training, min |" in text
    assert "| **89.68 ± 0.25** |" in text
    assert "\x1b" not in text


def test_a_terminal_has_colours(tmp_path, columns, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    columns(100)
    put(tmp_path / "a", **DENSE)
    put(tmp_path / "b")
    text = on_screen(collect([tmp_path]), FILES)
    assert "\x1b[1m  0.9000\x1b[0m" in text
    assert "**" not in text


def test_failures_notes_and_what_was_left_out_follow_the_tables(tmp_path, columns):
    put(tmp_path / "a", **failed("[red] no memory"))
    put(tmp_path / "b", recipe="[bold]x", error="the export was refused")
    put(tmp_path / "c", task=None)
    text = on_screen(collect([tmp_path]), FILES)
    assert "| [bold]x" in text
    assert "## Failed\n\n- sst2: prune80, dense, seed 1: [red] no memory\n\n## Notes\n" in text
    assert f"\n## Left out\n\n- {tmp_path}/c/result.json is not a valid row: task is missing.\n" in text
    assert text.endswith("\n\nreport/report.md\nreport/report.csv")


def test_nothing_of_a_foreign_row_acts_on_the_terminal(tmp_path, columns):
    acting = "\x1b]0;x\x07\x9b31m\u202e"
    names = {"task": acting, "recipe": f"r{acting}", "settings": {f"recipe.{acting}": acting}, "command": acting}
    put(tmp_path / "a", **names, model=acting, teacher=acting, metrics={acting: 0.5})
    put(tmp_path / "b", **names, **failed(acting))
    put(tmp_path / f"c{acting}", task=None)
    results = collect([tmp_path])
    shown = [on_screen(results, FILES), markdown(results), csv_text(*run_table(results))]
    assert all("x1b" in text for text in shown)
    assert [c for text in shown for c in text if not c.isprintable() and c != "\n"] == []
