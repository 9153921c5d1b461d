import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import winnow.path_arguments
from tests.toys import failure
from winnow.path_arguments import literal_paths

ODD = [
    "a=b",
    "a (b)",
    " a ",
    "a,b",
    "[x]",
    "{x}",
    "it's",
    'say "x"',
    "a#1",
    "$HOME",
    "a${b}c",
    "é",
    "2024",
    "true",
    "a\\b",
]


def read(argument):
    """The value that a setting gets from an override."""
    value = OverridesParser.create().parse_override(argument).value()
    return OmegaConf.create({"value": value}).value


def literal(argument, *others):
    return literal_paths([*others, argument])[-1]


@pytest.mark.parametrize("name", ODD)
def test_a_path_that_exists_is_read_as_typed(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert read(literal(f"task.data.path={name}")) == name


@settings(max_examples=30)
@given(st.text(min_size=1))
def test_any_path_that_exists_is_read_as_typed(path):
    assume(path not in ("null", "???"))  # which mean no value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winnow.path_arguments.os.path, "exists", lambda path: True)
        assert read(literal(f"model.name={path}")) == path


@pytest.mark.parametrize("name", ["a=b", "a (b), c", "{x}", "it's", "a#1", "é"])
@pytest.mark.parametrize("setting", ["hydra.run.dir", "output_dir", "task.data.files.train", "+export.data"])
def test_a_path_that_cannot_be_parsed_is_read_as_typed_though_it_does_not_exist(setting, name):
    assert read(literal(f"{setting}={name}")) == name


def test_interpolations_stay_in_a_new_folder():
    value = OverridesParser.create().parse_override(literal("hydra.sweep.subdir=seed=${x}")).value()
    assert OmegaConf.create({"value": value, "x": 3}).value == "seed=3"


@pytest.mark.parametrize(
    "argument",
    [
        "task.data.path=data/my-set_1.0", "task.data.path=null", "task.data.path=", "task.data.path='a=b'",
        "task.data.path=a,b", "seed=a(b", "recipe=glob(x*)", "-m", "hydra.run.dir=${output_dir}/x", "task=a=b",
    ],
)  # fmt: skip
def test_other_arguments_stay_as_they_are(argument):
    assert literal(argument) == argument


def test_in_a_sweep_a_comma_separates_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "c=1", "d=2"):
        (tmp_path / name).mkdir()
    assert literal("task.data.path=a,b", "-m") == "task.data.path=a,b"
    assert literal("task.data.path=a,b") == "task.data.path='a,b'"
    assert literal("task.data.path=c=1,d=2", "--multirun") == "task.data.path='c=1','d=2'"
    assert literal("task.data.path=c=1,e=2", "-m") == "task.data.path='c=1,e=2'"


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        ("train", "task.data.path=./x/a (b)=c, 'd"),
        ("train", "model.name=./x/a (b)=c, 'd"),
        ("plan", "task.data.path=./x/a (b)=c, 'd"),
        ("evaluate", "run=a (b)=c, ${d}"),
        ("export", "run=a (b)=c, ${d}"),
        ("report", "path=a (b)=c, ${d}"),
        ("predict", "deployment=a (b)=c, ${d}"),
    ],
)
def test_each_command_names_a_missing_folder_as_it_was_typed(tmp_path, command, argument):
    more = ["task=sst2", "teacher=none"] if command in ("train", "plan") else []
    assert failure(command, *more, argument, folder=tmp_path).startswith(f"error: {argument}: there is no such folder")
