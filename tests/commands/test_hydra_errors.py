"""Hydra's errors become one short message; each test runs a small Hydra application."""

import os
import sys

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from winnow.commands.hydra_errors import hydra_errors
from winnow.config.resolve import run_config
from winnow.errors import short_errors
from winnow.files.conf_folder import CONF


@pytest.fixture
def message(tmp_path, monkeypatch, capsys):
    """Run an application on the shipped configuration; returns how it ended: '' or the error message."""

    def run(*overrides, use=run_config):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["app", *overrides])
        GlobalHydra.instance().clear()

        @hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
        def application(composed):
            with short_errors():
                use(composed)

        try:
            with hydra_errors():
                application()
        except SystemExit as ended:
            return ended.code
        assert capsys.readouterr().err == ""
        return ""

    return run


def test_without_an_error_nothing_is_printed(message):
    assert message("recipe=dense", "seed=3") == ""


@pytest.mark.parametrize(
    ("override", "start", "end"),
    [
        (
            "task=sst3",
            "error: task=sst3: there is no such task. Did you mean 'sst2'? There are cola, ",
            "wnut17. For your own data: task=text_classification task.data.path=FOLDER_OR_HUB_NAME.",
        ),
        (
            "teacher=denser",
            "error: teacher=denser: there is no such teacher. Did you mean 'dense'?",
            "rotten_tomatoes. For another model: teacher=checkpoint teacher.name=FOLDER_OR_HUB_NAME.",
        ),
        ("teacher=owner/bert", "error: teacher=owner/bert: there is no such teacher. There are checkpoint, ", "NAME."),
        ("model=gpt", "error: model=gpt: there is no such model. There are albert_base, ", "or a folder works too."),
        ("model=minilmm", "error: model=minilmm: there is no such model. Did you mean 'minilm'?", "works too."),
        ("model=bert-base", "error: model=bert-base: there is no such model. Did you mean 'bert_base'?", "works too."),
    ],
)
def test_a_mistyped_option_is_refused_with_the_nearest_and_all_others(message, override, start, end):
    found = message(override)
    assert found.startswith(start)
    assert found.endswith(end)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("tsk=sst2", " Did you mean 'task'?"),
        ("task.batch_size=8", " Did you mean 'task.data.batch_size'?"),
        ("recipe.pruning.final_sparsty=0.9", " Did you mean 'recipe.pruning.final_sparsity'?"),
        ("learning_rate=1e-4", " Did you mean 'recipe.optimizer.learning_rate'?"),
        ("dense.lr=1e-4", " Did you mean 'dense.optimizer.learning_rate'?"),
        ("num_train_epochs=3", " Did you mean 'recipe.num_epochs'?"),
        ("fp16=true", " Did you mean 'trainer.precision=16-mixed'?"),
    ],
)
def test_a_mistyped_setting_is_named_with_the_nearest_or_the_one_that_other_tools_call_so(message, override, hint):
    found = message(override)
    assert found.startswith(f"error: {override.partition('=')[0]} ")
    assert found.endswith(hint)
    assert "\n" not in found


def test_an_option_as_in_other_tools_is_refused_with_how_to_write_a_setting(message):
    assert message("--learning-rate", "1e-4") == (
        "error: --learning-rate is not an option; settings are written without dashes, as NAME=VALUE: "
        "learning_rate=VALUE."
    )


def test_a_setting_of_the_same_section_with_another_name_is_not_suggested(message):
    found = message("recipe=dense", "recipe.pruning.final_sparsity=0.8")
    assert "recipe.pruning" in found
    assert "Did you mean" not in found


def test_an_override_that_cannot_be_read_is_quoted(message):
    assert message("seed=1,", "2").startswith("error: 'seed=1,' cannot be read as NAME=VALUE; a value with blanks")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("task.name=???", "error: task.name must be given: add task.name=VALUE to the command."),
        ("teacher.kind=${nope}", "error: teacher.kind: Interpolation key 'nope' not found."),
    ],
)
def test_a_value_that_is_missing_or_refers_to_nothing_is_named_even_where_the_run_folder_depends_on_it(
    message, override, expected
):
    assert message(override) == expected


def test_any_other_error_is_one_line(message):
    def fails(composed):
        raise RuntimeError("one\ntwo")

    expected = "error: RuntimeError: one. HYDRA_FULL_ERROR=1 before the command shows the trace."
    assert message(use=fails) == expected


def test_the_trace_is_shown_on_request_and_the_environment_is_restored(message, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(hydra.errors.MissingConfigException):
        message("task=sst3")
    monkeypatch.delenv("HYDRA_FULL_ERROR")
    message("task=sst3")
    assert "HYDRA_FULL_ERROR" not in os.environ


@pytest.mark.parametrize("override", ["seed=1,2", "seed=range(1,3)", "recipe=glob(oneshot9*)", "task.data.path=a,b"])
def test_several_values_without_m_are_refused_with_how_to_run_a_sweep_or_quote_one_value(message, override):
    assert message(override) == (
        f"error: '{override}' has several values, which make a sweep: run it with 'python -m src.train -m'; a single "
        "value with commas or parentheses needs quotes: \"name='a,b'\"."
    )
