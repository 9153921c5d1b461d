"""The deployment folder: a graph, its tokenizer, and a config.json that says what they are for."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from winnow.command_line import command_line
from winnow.config.present_names import with_present_names
from winnow.config.section import Section
from winnow.config.task import AnyTask, QuestionAnswering, TaskSettings, TextClassification, TokenClassification
from winnow.deployment.tokenizer import TOKENIZER, SavedTokenizer
from winnow.engine.library import LIBRARY
from winnow.errors import UserError, first_line, nearest
from winnow.extras import require_extra
from winnow.files.checksums import find_damage
from winnow.files.conf_folder import CONF
from winnow.files.token_limit import limit_tokenizer
from winnow.quiet import quiet_libraries
from winnow.tasks.answer_predictor import AnswerPredictor
from winnow.tasks.label_predictor import LabelPredictor
from winnow.tasks.predictor import Predictor
from winnow.tasks.tag_predictor import TagPredictor
from winnow.values import CountOrNull, Expected, one_of

GRAPH = "model.onnx"
SPARSE_GRAPH = "model.sparse.onnx"  # for the sparse engine; only some int8 deployments have one
VERIFICATION = "verification.json"
SECTION = "winnow"  # key of this project in config.json, beside those of the model
_TOKENIZERS = (TOKENIZER, "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "spm.model")
_PREDICTORS: dict[type[TaskSettings], type[Predictor]] = {
    TextClassification: LabelPredictor,
    QuestionAnswering: AnswerPredictor,
    TokenClassification: TagPredictor,
}

Precision = Annotated[Literal["float32", "float16", "int8"], one_of("float32", "float16", "int8")]
Names = Annotated[list[str], Expected("a list of names")]


class Contents(Section):
    """The section of this project in config.json of a deployment."""

    task: AnyTask
    labels: Names
    inputs: Names
    outputs: Names
    precision: Precision
    batch_size: CountOrNull
    sequence_length: CountOrNull


@dataclass
class Deployment:
    """A deployment folder that has been read and checked.

    Args:
        folder: the place of model.onnx.
        config: the whole config.json.
        task: the half of it that serves, with its labels.
        inputs: of the graph, int64, ``(batch, sequence)`` each.
        outputs: of the graph, in the order of the model's own.
        precision: float32, float16 or int8.
        batch_size: rows that the graph is fixed to, or None for any.
        sequence_length: tokens that the graph is fixed to, or None for any.
        tokenizer: a `SavedTokenizer`, or one of transformers if it is not a fast one.
    """

    folder: Path
    config: dict[str, Any]
    task: Predictor
    labels: list[str]
    inputs: list[str]
    outputs: list[str]
    precision: str
    batch_size: int | None
    sequence_length: int | None
    tokenizer: Any


def read_deployment(folder: Path) -> Deployment:
    """A deployment folder, or that of a run, checked; the graph itself is not opened.

    Raises:
        UserError: for what is missing or damaged, and for a task that the project does not ship.
    """
    folder = find_deployment(folder)
    check_files(folder, _is_description)
    config = _read_config(folder)
    contents = _read_contents(folder, config[SECTION])
    task = _task(contents, folder)
    task.use_threshold(config)
    if contents.sequence_length is not None:
        task.max_length = min(task.max_length, contents.sequence_length)
    return Deployment(
        folder=folder,
        config=config,
        task=task,
        labels=task.labels,
        inputs=contents.inputs,
        outputs=contents.outputs,
        precision=contents.precision,
        batch_size=contents.batch_size,
        sequence_length=contents.sequence_length,
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
        remedy = f"make it with {command_line('export', f'run={runs[0]}')}" if runs else "name the deployment of a run"
        raise UserError(f"deployment={folder}: there is no {GRAPH}; {remedy}.")
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise UserError(f"deployment={folder}: there is no tokenizer, such as {_TOKENIZERS[0]}; export the run again.")
    return folder


def check_files(folder: Path, is_read: Callable[[str], bool]) -> None:
    """Refuse a deployment with a damaged file; ``is_read`` is True for the names of the files to check."""
    if damage := find_damage(folder, is_read):
        raise UserError(f"{damage}; export the run again.")


def _is_description(name: str) -> bool:
    """True for the configuration and the files of the tokenizer."""
    return not name.startswith("model.") and name not in (VERIFICATION, "README.md", LIBRARY)


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


def _task(contents: "Contents", folder: Path) -> Predictor:
    if type(contents.task) not in _PREDICTORS:
        raise UserError(
            f"deployment={folder}: masked language models cannot be deployed; fine-tune the run of "
            f"{contents.task.name} on a task with model.name=RUN, and export that."
        )
    task = _PREDICTORS[type(contents.task)](**contents.task.arguments())
    task.labels = contents.labels
    if list(task.output_names) != contents.outputs:
        raise UserError(
            f"{folder / 'config.json'}: {SECTION}.outputs must be {', '.join(task.output_names)}, got "
            f"{', '.join(contents.outputs)}. Export the run again."
        )
    return task


def _read_contents(folder: Path, section: Mapping[str, Any]) -> "Contents":
    """The section of this project in config.json, which may come from anybody."""
    try:
        section = with_present_names(section)
        target = section["task"]["_target_"]
        if not str(target).startswith("winnow."):
            raise UserError(f"{SECTION}.task._target_={target} is not a task of this project.")
        return Contents.read({**section, "task": _with_defaults(section["task"])}, SECTION)
    except UserError as error:
        raise UserError(f"{folder / 'config.json'}: {error} Export the run again.") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{folder / 'config.json'}: the section of this project cannot be read ({first_line(error)}); export the "
            "run again."
        ) from error


def _with_defaults(task: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are newer than the folder get their defaults."""
    splits = yaml.safe_load((CONF / "data" / "splits.yaml").read_text())
    for path in sorted((CONF / "task").glob("*.yaml")):
        family = yaml.safe_load(path.read_text())
        if family.get("_target_") == task.get("_target_"):
            data = splits | family["data"] | task["data"]
            return {name: value for name, value in family.items() if name != "defaults"} | {**task, "data": data}
    return dict(task)


def _tokenizer(folder: Path) -> Any:
    is_fast = (folder / TOKENIZER).is_file()
    if not is_fast:
        require_extra(f"deployment={folder}: there is no {TOKENIZER}", "train", "transformers")
        quiet_libraries()
    try:
        if is_fast:
            return SavedTokenizer(folder)
        from transformers import AutoTokenizer  # heavy, and not installed where a deployment serves

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of many classes, from two libraries
        raise UserError(
            f"deployment={folder}: the tokenizer could not be read ({type(error).__name__}); export the run again."
        ) from error
    limit_tokenizer(tokenizer, folder)
    return tokenizer
