"""Whether a run can be exported, found out before anything heavy is loaded."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from winnow.errors import UserError
from winnow.files.local_files import local_files, resolve_model_folder
from winnow.files.run_files import read_config, read_result

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_OPSETS = (18, 23)  # what torch writes by itself, without a converter
_LENGTH_SETTINGS = ("max_length", "max_seq_length")  # of a task: tokens that it cuts a text to, or a window
_NOT_DEPLOYED = "winnow.tasks.masked_lm.MaskedLM"


def exportable(run: Path, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str]:
    """result.json, the configuration and the precision of an export that can work.

    Args:
        run: folder of a finished run.
        settings: the ``export`` section.

    Raises:
        UserError: for what cannot.
    """
    row, config = read_result(run), read_config(run)
    check_export_of(config["task"], settings)
    if row["status"] != "ok":
        raise UserError(f"run={run}: the run has failed ({row['error']}), so there is no model to export.")
    folder = resolve_model_folder(str(run / "model"), setting="run")
    _check_length(settings["sequence_length"], folder)
    _check_data(run, config["task"]["data"], settings["data"])
    _cut_windows(config["task"], settings["sequence_length"])
    return row, config, _precision(settings["precision"], row["quantized"])


def check_export_of(task: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse what no run of a task could be exported with, before a training as well as after it.

    Args:
        task: its section.
        settings: the ``export`` section.
    """
    if settings["kind"] != "onnx":
        raise UserError(f"export={settings['kind']} exports nothing; leave it out.")
    if task["_target_"] == _NOT_DEPLOYED:
        raise UserError(
            f"task={task['name']} guesses hidden words, which answers nothing; fine-tune it on a task with "
            "model.name=RUN, and export that."
        )
    _check_packages()
    _check_opset(settings["opset"])


def _check_packages() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} must be installed for an export: pip install {' '.join(missing)}.")


def _check_opset(opset: int) -> None:
    if not _OPSETS[0] <= opset <= _OPSETS[1]:
        raise UserError(f"export.opset must be {_OPSETS[0]} to {_OPSETS[1]}, got {opset}.")


def _check_length(length: int | None, model: Path) -> None:
    limit = token_limit(model)
    if length is not None and limit is not None and length > limit:
        raise UserError(f"export.sequence_length={length}: the model reads {limit} tokens at most.")
    if length is not None and length < 8:
        raise UserError(f"export.sequence_length={length} leaves no room for a text; 8 tokens are the least.")


def token_limit(model: Path) -> int | None:
    """Tokens that a saved model can read at once; None if nothing says so."""
    config = json.loads((model / "config.json").read_text())
    limits = []
    if "max_position_embeddings" in config:
        # RoBERTa and its like count positions from the number of the padding token on
        first = config["pad_token_id"] + 1 if "roberta" in config["model_type"] else 0
        limits.append(config["max_position_embeddings"] - first)
    if (model / "tokenizer_config.json").is_file():
        limits.append(json.loads((model / "tokenizer_config.json").read_text()).get("model_max_length", limits[0]))
    return min(limits, default=None)


def _check_data(run: Path, data: dict[str, Any], place: str | None) -> None:
    """The data of a run must be where they were, or where the export is told; what is told is written into ``data``."""
    if place is not None:
        data |= {"path": place, "subset": None, "generator": None, "files": dict.fromkeys(data["files"])}
    try:
        local_files(data)
    except UserError as error:
        if place is not None:
            raise UserError(str(error).replace("task.data.path", "export.data", 1)) from error
        raise UserError(
            f"run={run}: an export is verified on the run's data, and they are gone. {error} Say where they are now "
            "with export.data=FOLDER, with files named after their splits."
        ) from error


def _cut_windows(task: dict[str, Any], length: int | None) -> None:
    """A graph of fixed length is given texts that are cut to it."""
    for name in _LENGTH_SETTINGS:
        if length is not None and name in task:
            task[name] = min(task[name], length)


def _precision(asked: str, quantized: bool) -> str:
    """int8 for a quantised run and for no other."""
    if quantized and asked not in ("auto", "int8"):
        raise UserError(f"export.precision={asked}: the run is quantised, so its graph is int8; leave the setting out.")
    if not quantized and asked == "int8":
        raise UserError(
            "export.precision=int8: the run is not quantised. Train it with a recipe that is, such as prune80_quant, "
            "or quantise it as it is with recipe=ptq model.name=RUN."
        )
    return "int8" if quantized else "float32" if asked == "auto" else asked
