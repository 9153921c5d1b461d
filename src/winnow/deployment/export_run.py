"""From a finished run to its deployment folder: checked, written, verified, and there whole or not at all."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config.resolve import model_label
from winnow.deployment.exportable import PACKAGES, exportable
from winnow.errors import UserError
from winnow.files.atomic import save_folder, write_atomically
from winnow.files.locks import run_lock
from winnow.files.run_files import write_result

if TYPE_CHECKING:
    from winnow.deployment.samples import Samples

FAILED = "verification_failed.json"  # in the folder of the run


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
    row, config, precision = exportable(run, settings)
    with run_lock(run):
        import hydra
        from transformers import AutoTokenizer

        from winnow.deployment.graph import write_graph
        from winnow.deployment.samples import check_labels, real_inputs
        from winnow.deployment.saturation import may_overflow
        from winnow.deployment.sizes import deployment_size
        from winnow.deployment.verification import verify
        from winnow.models.pretrained import load_saved
        from winnow.quiet import quiet_libraries

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
            write_atomically(folder / "README.md", _readme(row, precision, may_overflow(folder / "model.onnx")))
            write_atomically(folder / "verification.json", json.dumps(report, indent=2) + "\n")
            row["deployment"] = _facts(report, deployment_size(folder), precision)

        save_folder(run / "deployment", save)
        (run / FAILED).unlink(missing_ok=True)
        write_result(run, row)
        if settings["compare"]:
            from winnow.deployment.comparison import compare

            row["deployment"]["latency"] = compare(run, task, opset=settings["opset"], sparsity=row["sparsity"])
            write_result(run, row)
    return run / "deployment"


def _headed(report: Mapping[str, Any], precision: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    head = {
        "passed": not report["failures"],
        "failures": report["failures"],
        "precision": precision,
        **{name: settings[name] for name in ("opset", "batch_size", "sequence_length")},
    }
    versions = {name: version(name) for name in ("torch", "transformers", *PACKAGES)}
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


def _readme(row: Mapping[str, Any], precision: str, overflows: bool) -> str:
    warning = (
        "On x86 processors without VNNI its int8 sums may overflow: set `session.disable_quant_qdq` to `1` with "
        "`SessionOptions.add_session_config_entry`; it computes in float32 then. Winnow sees to that itself.\n"
    )
    return (
        f"{model_label(row['model'])} on {row['task']} in {precision}; verification.json says how near it is to the "
        "PyTorch model.\n"
        "With Winnow: `from winnow.deployment.pipeline import open_pipeline; model = open_pipeline('FOLDER')`, or "
        "`python -m src.predict deployment=FOLDER`.\n"
        "Alone: `onnxruntime.InferenceSession('FOLDER/model.onnx').run(None, inputs)`, with the int64 arrays that "
        "`AutoTokenizer.from_pretrained('FOLDER')` makes.\n" + (warning if overflows else "")
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
