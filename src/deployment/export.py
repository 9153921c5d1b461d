"""From a finished run to its deployment folder: checked, written, verified, and there whole or not at all."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config import RESOLVED, model_label
from src.errors import UserError
from src.local_files import local_files, resolve_model_folder
from src.run_folder import alone, read_config, read_result, save_folder, write_atomically, write_result

if TYPE_CHECKING:
    from src.deployment.samples import Samples

FAILED = "verification_failed.json"  # in the folder of the run
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_OLDEST_OPSET = 18  # of those that torch writes without a conversion
_LENGTH_SETTINGS = ("max_length", "max_seq_length")  # of a task: tokens that it cuts a text to, or a window


def export_run(run: Path, settings: Mapping[str, Any]) -> Path:
    """Write ``deployment/`` of a run, and what it measures into result.json.

    Args:
        run: folder of a finished run.
        settings: the ``export`` section.

    Returns:
        The deployment folder.

    Raises:
        UserError: for what cannot be exported, before anything heavy is loaded, and for a graph that is not the model;
            an earlier deployment is left as it is then.
    """
    row, config, precision = _checked(run, settings)
    with alone(run):
        import hydra
        from transformers import AutoTokenizer

        from src.deployment.graph import write_graph
        from src.deployment.samples import check_labels, real_inputs
        from src.deployment.sizes import deployment_size
        from src.deployment.verification import verify
        from src.models.load import load_saved
        from src.quiet import quiet_libraries

        quiet_libraries()
        task = hydra.utils.instantiate(config["task"], _convert_="all")
        tokenizer = AutoTokenizer.from_pretrained(run / "model")
        shape = {name: settings[name] for name in ("batch_size", "sequence_length")}
        samples = real_inputs(task, tokenizer, config["task"]["data"], limit=settings["samples"], **shape)
        model = load_saved(run / "model", task)
        check_labels(task, model.config.id2label)
        half = precision == "float16"

        def save(folder: Path) -> None:
            write_graph(
                model,
                folder / "model.onnx",
                inputs=samples.inputs,
                outputs=task.output_names,
                opset=settings["opset"],
                half=half,
                external_data_above=settings["external_data_above"],
                **shape,
            )
            report = _headed(verify(model, folder / "model.onnx", samples, half=half), precision, settings)
            if report["failures"]:
                write_atomically(run / FAILED, json.dumps(report, indent=2) + "\n")
                raise UserError(_refusal(run, report))
            tokenizer.save_pretrained(folder)
            write_atomically(folder / "config.json", _configuration(run, config, samples, precision, settings))
            write_atomically(folder / "README.md", _readme(row, precision))
            write_atomically(folder / "verification.json", json.dumps(report, indent=2) + "\n")
            row["deployment"] = _facts(report, deployment_size(folder), precision)

        save_folder(run / "deployment", save)
        (run / FAILED).unlink(missing_ok=True)
        write_result(run, row)
        if settings["compare"]:
            from src.deployment.comparison import compare

            row["deployment"]["latency"] = compare(run, task, opset=settings["opset"], sparse=row["sparsity"] > 0)
            write_result(run, row)
    return run / "deployment"


def _checked(run: Path, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str]:
    """result.json, the configuration and the precision of an export that can work."""
    if settings["kind"] != "onnx":
        raise UserError(f"export={settings['kind']} exports nothing; leave it out.")
    if (run / RESOLVED).is_file() and not (run / "result.json").is_file():
        raise UserError(f"run={run}: the run has not ended; finish it with resume=true hydra.run.dir={run}.")
    row, config = read_result(run), read_config(run)
    if row["status"] != "ok":
        raise UserError(f"run={run}: the run has failed ({row['error']}), so there is no model to export.")
    folder = resolve_model_folder(str(run / "model"), setting="run")
    _check_packages()
    _check_opset(settings["opset"])
    _check_length(settings["sequence_length"], folder)
    _check_data(run, config["task"]["data"], settings["data"])
    _cut_windows(config["task"], settings["sequence_length"])
    return row, config, _precision(settings["precision"], row["quantized"])


def _check_packages() -> None:
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(
            f"{' and '.join(missing)} must be installed for an export: pip install 'winnow-transformers[onnx]'."
        )


def _check_opset(opset: int) -> None:
    import onnx
    import onnxruntime  # noqa: F401

    newest = min(onnx.defs.onnx_opset_version(), 23)
    if not _OLDEST_OPSET <= opset <= newest:
        raise UserError(f"export.opset must be {_OLDEST_OPSET} to {newest}, got {opset}.")


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


def _headed(report: Mapping[str, Any], precision: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    head = {
        "passed": not report["failures"],
        "failures": report["failures"],
        "precision": precision,
        **{name: settings[name] for name in ("opset", "batch_size", "sequence_length")},
    }
    versions = {name: version(name) for name in ("torch", "transformers", *_PACKAGES)}
    return {**head, **report, "versions": versions}


def _refusal(run: Path, report: Mapping[str, Any]) -> str:
    first = report["first_divergence"]
    where = f" The first module that differs is {first['module']}." if first else ""
    return (
        f"run={run}: the exported graph is not the model: {'; '.join(report['failures'])}.{where} "
        f"The report is in {run / FAILED}; an earlier deployment is untouched."
    )


def _configuration(
    run: Path, config: Mapping[str, Any], samples: "Samples", precision: str, settings: Mapping[str, Any]
) -> str:
    """config.json: the model's own, and what the graph is for; no place on this machine is in it."""
    data = config["task"]["data"]
    nowhere = {name: None for name in ("path", "subset", "revision", "generator") if name in data}
    task = {**config["task"], "data": {**data, **nowhere, "files": dict.fromkeys(data["files"])}}
    ours = {
        "task": task,
        "labels": samples.task.labels,
        "inputs": samples.inputs,
        "outputs": list(samples.task.output_names),
        "precision": precision,
        "batch_size": settings["batch_size"],
        "sequence_length": settings["sequence_length"],
    }
    model = json.loads((run / "model" / "config.json").read_text())
    return json.dumps({**model, "winnow": ours}, indent=2, ensure_ascii=False) + "\n"


def _readme(row: Mapping[str, Any], precision: str) -> str:
    return (
        f"{model_label(row['model'])} on {row['task']} in {precision}; verification.json says how near it is to the "
        "PyTorch model.\n"
        "With Winnow: `from src.deployment.pipeline import open_pipeline; model = open_pipeline('FOLDER')`, or "
        "`python -m src.predict deployment=FOLDER`.\n"
        "Alone: `onnxruntime.InferenceSession('FOLDER/model.onnx').run(None, inputs)`, with the int64 arrays that "
        "`AutoTokenizer.from_pretrained('FOLDER')` makes.\n"
    )


def _facts(report: Mapping[str, Any], size: Any, precision: str) -> dict[str, Any]:
    """The entry of result.json."""
    products = report["matmuls"]["as_exported"]
    return {
        "precision": precision,
        "bytes": size.raw,
        "compressed_bytes": size.compressed,
        "agreement": report["predictions"]["agreement"],
        "metrics": report["metrics"]["onnxruntime"],
        "matmuls": {name: products[name] for name in ("int8", "float")},
    }
