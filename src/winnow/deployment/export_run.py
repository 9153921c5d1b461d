"""Export a finished run: check it, write its deployment folder atomically, and verify the graph."""

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from winnow.config.outputs import Export
from winnow.config.task import Files, TaskSettings
from winnow.deployment.comparison import compare
from winnow.deployment.exportable import PACKAGES, exportable, recorded
from winnow.deployment.folder import GRAPH, SPARSE_GRAPH, VERIFICATION
from winnow.deployment.graph import write_graph
from winnow.deployment.integer_modules import packs_embeddings
from winnow.deployment.samples import Samples, check_labels, real_inputs
from winnow.deployment.saturation import may_overflow
from winnow.deployment.sizes import Size, deployment_size, size_of
from winnow.deployment.sparse_graph import write_sparse_graph
from winnow.deployment.speedup import check_speedup, measure_speedup
from winnow.deployment.verification import verify
from winnow.errors import UserError
from winnow.files.atomic import save_folder, write_atomically
from winnow.files.checksums import write_sums
from winnow.files.json_text import json_text
from winnow.files.locks import run_lock
from winnow.files.run_files import write_result
from winnow.files.token_limit import limit_tokenizer
from winnow.models.pretrained import from_pretrained, load_saved, save_tokenizer
from winnow.quiet import quiet_libraries
from winnow.tasks.task import build_task

FAILED = "verification_failed.json"  # in the folder of the run


def export_run(run: Path, settings: Export) -> Path:
    """Write ``deployment/`` of a run but its card, and what it measures into result.json.

    Args:
        run: folder of a finished run.
        settings: the ``export`` section.

    Returns:
        The deployment folder.

    Raises:
        UserError: for a run that cannot be exported, for a graph that does not compute what the model computes, and
            for one that is slower than the recipe has asked for; an earlier deployment is left as it is.
    """
    row, task_settings, precision = exportable(run, settings)
    with run_lock(run):
        quiet_libraries()
        task = build_task(task_settings)
        tokenizer = from_pretrained(AutoTokenizer, run / "model")
        limit_tokenizer(tokenizer, run / "model")
        shape = {"batch_size": settings.batch_size, "sequence_length": settings.sequence_length}
        samples = real_inputs(task, tokenizer, task_settings.data, limit=settings.samples, **shape)
        model = load_saved(run / "model", task)
        task.use_threshold(vars(model.config))
        check_labels(task, {int(i): label for i, label in (model.config.id2label or {}).items()})
        half = precision == "float16"

        def save(folder: Path) -> None:
            write_graph(
                model,
                folder / GRAPH,
                inputs=samples.inputs,
                outputs=task.output_names,
                opset=settings.opset,
                half=half,
                external_data_above=settings.external_data_above,
                **shape,
            )
            sparse = write_sparse_graph(folder) if precision == "int8" else None
            report = verify(model, folder / GRAPH, samples, half=half, sparse=sparse)
            report = _headed(report, precision, settings)
            if report["failures"]:
                write_atomically(run / FAILED, json_text(report, indent=2) + "\n")
                raise UserError(_refusal(run, report))
            save_tokenizer(tokenizer, folder)
            write_atomically(folder / "config.json", _configuration(run, task_settings, samples, precision, settings))
            write_atomically(folder / VERIFICATION, json_text(report, indent=2) + "\n")
            row["deployment"] = {
                **_facts(report, deployment_size(folder), precision),
                "packs_embeddings": packs_embeddings(model),
                "may_overflow": may_overflow(folder / GRAPH),
            }
            if sparse and report["sparse"]["failures"]:
                sparse.remove()
                print(_sparse_refusal(report["sparse"]), file=sys.stderr)
            elif sparse:
                row["deployment"]["sparse"] = _sparse_facts(report["sparse"], size_of([sparse.path]))
            if row.get("structure"):
                section = {"inputs": samples.inputs, "precision": precision, **shape}
                speedup = measure_speedup(row["structure"], run, folder, task, section, settings.opset)
                if not settings.allow_slower:
                    check_speedup(speedup, run)
                row["deployment"]["speedup"] = speedup
            write_sums(folder)

        save_folder(run / "deployment", save)
        (run / FAILED).unlink(missing_ok=True)
        write_result(run, row)
        if settings.compare:
            row["deployment"]["latency"] = compare(run, task, opset=settings.opset, sparsity=row["sparsity"])
            write_result(run, row)
    return run / "deployment"


def _headed(report: Mapping[str, Any], precision: str, settings: Export) -> dict[str, Any]:
    head = {
        "passed": not report["failures"],
        "failures": report["failures"],
        "precision": precision,
        **settings.model_dump(include={"opset", "batch_size", "sequence_length"}),
        "settings": recorded(settings),
    }
    versions = {name: version(name) for name in ("torch", "transformers", *PACKAGES)}
    return {**head, **report, "versions": versions}


def _refusal(run: Path, report: Mapping[str, Any]) -> str:
    first = report["first_divergence"]
    where = f" The first module that differs is {first['module']}." if first else ""
    return (
        f"run={run}: the exported graph does not compute what the model computes: {'; '.join(report['failures'])}."
        f"{where} The report is in {run / FAILED}; an earlier deployment is untouched."
    )


def _sparse_refusal(report: Mapping[str, Any]) -> str:
    first = report.get("first_divergence")
    where = f" The first module that differs is {first['module']}." if first else ""
    return (
        f"note: the deployment has no {SPARSE_GRAPH}, which does not compute what the model computes: "
        f"{'; '.join(report['failures'])}.{where}"
    )


def _configuration(run: Path, task: TaskSettings, samples: Samples, precision: str, settings: Export) -> str:
    """config.json of the model with the section of this project; it names no place on this machine."""
    data = task.data.model_copy(
        update={"path": None, "subset": None, "revision": None, "generator": None, "files": Files()}
    )
    section = {
        "task": task.model_copy(update={"data": data}).model_dump(by_alias=True),
        "labels": samples.task.labels,
        "inputs": samples.inputs,
        "outputs": list(samples.task.output_names),
        "precision": precision,
        "batch_size": settings.batch_size,
        "sequence_length": settings.sequence_length,
    }
    model = json.loads((run / "model" / "config.json").read_text())
    return json_text({**model, "winnow": section}, indent=2, ensure_ascii=False) + "\n"


def _facts(report: Mapping[str, Any], size: Size, precision: str) -> dict[str, Any]:
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


def _sparse_facts(report: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """The entry of result.json on the graph for the sparse engine."""
    return {
        "bytes": size.raw,
        "compressed_bytes": size.compressed,
        "agreement": report["predictions"]["agreement"],
        "metrics": report["metrics"]["sparse"],
        **{name: report[name] for name in ("packed", "alone", "empty_blocks")},
    }
