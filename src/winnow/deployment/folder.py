"""The deployment folder: a graph, its tokenizer, and a config.json that says what they are for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from winnow.config.checks import check_task
from winnow.config.resolve import leaves
from winnow.errors import UserError, nearest
from winnow.files.conf_folder import CONF
from winnow.ranges import check_range

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from winnow.tasks.task import Task

GRAPH = "model.onnx"
SECTION = "winnow"  # our key in config.json, beside those of the model
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "spm.model")
_PRECISIONS = ("float32", "float16", "int8")


@dataclass
class Deployment:
    """What a deployment folder says of itself.

    Args:
        folder: the place of model.onnx.
        config: the whole config.json.
        task: with its labels.
        inputs: of the graph, int64, ``(batch, sequence)`` each.
        outputs: of the graph, in the order of the model's own.
        precision: float32, float16 or int8.
        batch_size: rows that the graph is fixed to, or None for any.
        sequence_length: tokens that the graph is fixed to, or None for any.
        tokenizer: of the model.
    """

    folder: Path
    config: dict[str, Any]
    task: "Task"
    labels: list[str]
    inputs: list[str]
    outputs: list[str]
    precision: str
    batch_size: int | None
    sequence_length: int | None
    tokenizer: "PreTrainedTokenizerBase"


def read_deployment(folder: Path) -> Deployment:
    """A deployment folder, or that of a run, checked; the graph itself is not opened.

    Raises:
        UserError: for what is missing or damaged, and for a task that the project does not ship.
    """
    folder = find_deployment(folder)
    config = _read_config(folder)
    section = _Section(folder, config[SECTION])
    task = _task(folder, section.value("task", dict))
    task.labels = section.texts("labels")
    if not task.output_names:
        raise UserError(
            f"deployment={folder}: {task.name} guesses hidden words, which answers nothing; fine-tune its run on a "
            "task with model.name=RUN, and export that."
        )
    sequence_length = section.count("sequence_length")
    if sequence_length is not None:
        task.max_length = min(task.max_length, sequence_length)
    return Deployment(
        folder=folder,
        config=config,
        task=task,
        labels=task.labels,
        inputs=section.texts("inputs"),
        outputs=section.one_of("outputs", [list(task.output_names)]),
        precision=section.one_of("precision", _PRECISIONS),
        batch_size=section.count("batch_size"),
        sequence_length=sequence_length,
        tokenizer=_tokenizer(folder),
    )


def find_deployment(folder: Path) -> Path:
    """The folder with the graph: ``folder`` itself, or the ``deployment`` folder of a run; its files are there."""
    folder = folder.expanduser()
    if not folder.is_dir():
        siblings = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise UserError(f"deployment={folder}: there is no such folder.{nearest(folder.name, siblings)}")
    if (folder / "deployment").is_dir():
        folder = folder / "deployment"
    if not (folder / GRAPH).is_file():
        runs = [place for place in (folder, folder.parent) if (place / "result.json").is_file()]
        remedy = f"make it with python -m src.export run={runs[0]}" if runs else "name what src.export made of a run"
        raise UserError(f"deployment={folder}: there is no {GRAPH}; {remedy}.")
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise UserError(f"deployment={folder}: there is no tokenizer, such as {_TOKENIZERS[0]}; export the run again.")
    return folder


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"deployment={folder}: there is no config.json; export the run again.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); export the run again.") from error
    if not isinstance(config, dict) or not isinstance(config.get(SECTION), dict):
        raise UserError(f"{path} does not say what the model is for ('{SECTION}' is missing); export the run again.")
    return config


@dataclass
class _Section:
    """Our part of config.json, which may come from anybody."""

    folder: Path
    values: Mapping[str, Any]

    def value(self, name: str, kind: type) -> Any:
        if not isinstance(self.values.get(name), kind):
            raise self.refusal(name)
        return self.values[name]

    def texts(self, name: str) -> list[str]:
        if not all(isinstance(text, str) for text in self.value(name, list)):
            raise self.refusal(name)
        return self.values[name]

    def one_of(self, name: str, known: Sequence[Any]) -> Any:
        if self.values.get(name) not in known:
            raise self.refusal(name)
        return self.values[name]

    def count(self, name: str) -> int | None:
        value = self.values.get(name)
        if value is not None and not (type(value) is int and value > 0):
            raise self.refusal(name)
        return value

    def refusal(self, name: str) -> UserError:
        found = repr(self.values.get(name))[:60]
        return UserError(f"{self.folder / 'config.json'}: {SECTION}.{name} cannot be {found}; export the run again.")


def _task(folder: Path, section: Mapping[str, Any]) -> "Task":
    """The task, built from plain values alone; settings that are newer than the folder have their defaults."""
    from hydra.utils import get_class

    try:
        section = _with_defaults(section)
        check_task(section)
        for setting, name, value in leaves(section):
            check_range(name, value, f"task.{setting}")
        return get_class(section["_target_"])(**{name: section[name] for name in section if name != "_target_"})
    except UserError as error:
        raise UserError(f"{folder / 'config.json'}: {error}") from error
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{folder / 'config.json'}: the task cannot be read ({cause}); export the run again."
        ) from error


def _with_defaults(section: Mapping[str, Any]) -> dict[str, Any]:
    splits = yaml.safe_load((CONF / "data" / "splits.yaml").read_text())
    for path in sorted((CONF / "task").glob("*.yaml")):
        family = yaml.safe_load(path.read_text())
        if family.get("_target_") == section.get("_target_"):
            data = splits | family["data"] | section["data"]
            return {name: value for name, value in family.items() if name != "defaults"} | {**section, "data": data}
    return dict(section)


def _tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of many classes, from two libraries
        raise UserError(
            f"deployment={folder}: the tokenizer could not be read ({type(error).__name__}); export the run again."
        ) from error
