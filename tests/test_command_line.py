import sys

import pytest

from winnow.command_line import command_line, resuming_command, sweep_command, training_command, use_console_names


@pytest.fixture(autouse=True)
def without_console_names(monkeypatch):
    monkeypatch.setenv("WINNOW_CONSOLE", "")  # so the variable that a test sets is removed after it


def test_a_command_is_printed_as_the_user_started_it():
    assert command_line("train", "task=sst2") == "python -m src.train task=sst2"
    use_console_names()
    assert command_line("train", "task=sst2") == "winnow train task=sst2"


def test_arguments_that_a_shell_would_split_are_quoted():
    assert command_line("report", "path=a b", "x=[1,2]") == "python -m src.report 'path=a b' 'x=[1,2]'"


def test_the_commands_of_a_run_are_those_of_its_process(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "task=sst2", "resume=false"])
    assert training_command() == "python -m src.train task=sst2 resume=false"
    assert resuming_command() == "python -m src.train task=sst2 resume=true"


def test_a_sweep_and_its_jobs_are_resumed_by_the_command_of_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=1,2"])
    assert resuming_command() == "python -m src.train -m seed=1,2"
    (tmp_path / "sweep.json").write_text('{"command": "python -m src.train -m seed=1,2"}')
    assert sweep_command(tmp_path) == "python -m src.train -m seed=1,2"
