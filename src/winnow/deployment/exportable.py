"""Check that a run can be exported, before anything heavy is loaded."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from winnow.config.outputs import Export
from winnow.config.run import saved_config
from winnow.config.task import Data, Files, MaskedLM, TaskSettings, check_shipped
from winnow.deployment.folder import VERIFICATION
from winnow.errors import UserError
from winnow.files.json_text import read_json
from winnow.files.local_files import local_files, resolve_model_folder
from winnow.files.run_files import read_result
from winnow.files.token_limit import check_length, saved_token_limit

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def exportable(run: Path, settings: Export) -> tuple[dict[str, Any], TaskSettings, str]:
    """result.json, the task and the precision of an export that can work.

    Args:
        run: folder of a finished run.
        settings: the ``export`` section.

    Raises:
        UserError: for an export that cannot work.
    """
    row, task = read_result(run), saved_config(run).task
    check_export_of(task, settings)
    if row["status"] != "ok":
        raise UserError(f"run={run}: the run has failed ({row['error']}), so there is no model to export.")
    folder = resolve_model_folder(str(run / "model"), setting="run")
    _check_length(settings.sequence_length, folder)
    data = _present_data(run, task.data, settings.data)
    return row, _cut_to(settings.sequence_length, task, data), _precision(settings.precision, row["quantized"])


def is_exported(run: Path, settings: Export) -> bool:
    """True if a run has been exported with these settings to the end."""
    facts = read_result(run).get("deployment", {})
    try:
        report = read_json(run / "deployment" / VERIFICATION)
    except (OSError, ValueError):
        return False
    # result.json is written after the deployment, and the comparison of the engines is measured last
    complete = "agreement" in facts and (not settings.compare or "latency" in facts)
    return complete and report.get("settings") == recorded(settings)


def recorded(settings: Export) -> dict[str, Any]:
    """The settings as verification.json has them, which names no place on this machine."""
    return settings.model_dump(exclude={"data"})


def check_export_of(task: TaskSettings, settings: Export) -> None:
    """Refuse an export that cannot work for any run of a task, before a training as well as after it."""
    if settings.kind != "onnx":
        raise UserError(f"export={settings.kind} exports nothing; leave it out.")
    check_shipped(task)
    if isinstance(task, MaskedLM):
        raise UserError(
            f"task={task.name}: masked language models cannot be deployed; fine-tune the run on a task with "
            "model.name=RUN, and export that."
        )
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} must be installed for an export: pip install {' '.join(missing)}.")


def _check_length(length: int | None, model: Path) -> None:
    if length is None:
        return
    check_length("export.sequence_length", length, saved_token_limit(model))
    if length < 8:
        raise UserError(f"export.sequence_length={length} leaves no room for a text; 8 tokens are the least.")


def _present_data(run: Path, data: Data, folder: str | None) -> Data:
    """The data of a run: in the folder that the export names, else where they were."""
    if folder is not None:
        data = data.model_copy(update={"path": folder, "subset": None, "generator": None, "files": Files()})
    try:
        local_files(data)
    except UserError as error:
        if folder is not None:
            raise UserError(str(error).replace("task.data.path", "export.data", 1)) from error
        raise UserError(
            f"run={run}: an export is verified on the run's data, which are gone. {error} Name their present folder, "
            "with files named after their splits: export.data=FOLDER."
        ) from error
    return data


def _cut_to(length: int | None, task: TaskSettings, data: Data) -> TaskSettings:
    """The task with its data; for a graph of fixed length its texts are cut to that length."""
    cut = {name: min(longest, length) for name, longest in task.lengths.items()} if length is not None else {}
    return task.model_copy(update={"data": data, **cut})


def _precision(wanted: str, quantized: bool) -> str:
    """int8 for a quantised run and for no other."""
    if quantized and wanted not in ("auto", "int8"):
        raise UserError(
            f"export.precision={wanted}: the run is quantised, so its graph is int8; leave the setting out."
        )
    if not quantized and wanted == "int8":
        raise UserError(
            "export.precision=int8: the run is not quantised. Train it with a quantising recipe, such as "
            "prune80_quant, or quantise it without training by recipe=ptq model.name=RUN."
        )
    return "int8" if quantized else "float32" if wanted == "auto" else wanted
