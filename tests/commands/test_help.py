import subprocess
import sys

import pytest

from winnow.commands.cli import WORDS
from winnow.commands.help import help_page


@pytest.fixture
def page(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    return lambda word, *arguments: help_page(word, arguments)


@pytest.mark.parametrize("word", WORDS)
def test_the_help_of_every_command_fits_the_terminal(page, word):
    lines = page(word).splitlines()
    assert lines[0].startswith(f"python -m src.{word} ")
    assert max(map(len, lines)) <= 80


def test_the_help_of_train_is_a_screen_with_the_words_and_the_values_of_the_command(page):
    text = page("train", "task=squad", "recipe=prune85", "recipe.num_epochs=2")
    lines = text.splitlines()
    assert len(lines) <= 50
    shown = {line.split()[0] for line in lines if line.startswith("  ")}
    assert shown >= {"task=squad", "recipe=prune85", "recipe.pruning.final_sparsity=0.85", "task.max_seq_length=384"}
    assert {"prune<N>", "fast<N>_quant", "checkpoint"} <= set(text.split())
    assert "recipe.num_epochs=2  " in text
    assert "scales the recipe as a whole" in text
    assert lines[-1].split() == ["next", "python", "-m", "src.export", "run=FOLDER"]


def test_the_help_of_another_command_has_its_own_settings_alone(page):
    text = page("export")
    assert "  run=...  " in text
    assert "required: the folder that holds" in text
    assert "  export.opset=20  " in text
    assert "recipe=" not in text


def test_arguments_that_only_the_command_can_read_do_not_matter():
    command = [sys.executable, "-m", "winnow", "predict", "text=it's, (good", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.stdout.startswith("winnow predict deployment=")
    assert ended.returncode == 0
