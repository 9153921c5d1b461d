"""What an export says at its end: sizes, matmuls, how near the graph is to the model, and how to use it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow.config.labels import model_label
from winnow.reports.engine_comparison import comparison_text
from winnow.text import aligned, relative_path

_STABLE = 0.99  # of the predictions are the same under noise


def export_summary(row: Mapping[str, Any], report: Mapping[str, Any], folder: Path) -> str:
    """A short table.

    Args:
        row: result.json of the run.
        report: verification.json.
        folder: the deployment.
    """
    facts, logits = row["deployment"], report["logits"]
    title = f"{row['recipe']} of {model_label(row['model'])} on {row['task']}, {report['precision']}"
    table = [
        ["", "PyTorch", "ONNX Runtime"],
        *_metric_rows(report["metrics"]),
        ["same predictions", "", f"{100 * report['predictions']['agreement']:.2f} %"],
        ["mean logit difference", "", f"{logits['mean_difference']:.2g}"],
        [f"  of {logits['control']}", f"{logits['control_mean_difference']:.2g}", ""],
        *_product_rows(report["matmuls"]),
        ["size", "", _megabytes(facts["bytes"])],
        ["  packed by zstd", "", _megabytes(facts["compressed_bytes"])],
    ]
    lines = [title, "-" * len(title), *aligned(table), ""]
    lines += _cautions(report)
    folder, texts = relative_path(folder), " ".join(f'{name}="..."' for name in report["samples"]["texts"])
    lines += [
        f"verified     on {report['samples']['inputs']:,} inputs: {folder / 'verification.json'}",
        f"deployment   {folder}",
        f"use          python -m src.predict deployment={folder} {texts}",
    ]
    if "latency" in facts:
        lines += ["", comparison_text(row, folder)]
    return "\n".join(lines)


def _metric_rows(metrics: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    return [[name, f"{value:.4f}", f"{metrics['onnxruntime'][name]:.4f}"] for name, value in metrics["pytorch"].items()]


def _product_rows(matmuls: Mapping[str, Any]) -> list[list[str]]:
    counts = [matmuls[name] for name in ("as_exported", "fixed_shape")]
    if not matmuls["expected_int8"]:
        return [["matmuls in float", "", f"{counts[0]['float']}"]]
    said = [f"{count['int8']} of {count['int8'] + count['float']}" for count in counts]
    return [["matmuls in int8", "", said[0]], ["  in a fixed shape", "", said[1]]]


def _cautions(report: Mapping[str, Any]) -> list[str]:
    """What makes the proof weaker than it looks."""
    samples, cautions = report["samples"], []
    if len(report["predictions"]["pytorch"]) == 1:
        only = next(iter(report["predictions"]["pytorch"]))
        cautions.append(f"caution      the model says '{only}' of every input, so equal predictions prove little")
    if report["predictions"]["control_agreement"] < _STABLE:
        share = 100 * (1 - report["predictions"]["control_agreement"])
        cautions.append(f"caution      noise of one in a million changes {share:.1f} % of the model's predictions")
    if samples["inputs"] < 200:
        cautions.append(f"caution      the run has {samples['inputs']} inputs in all; 200 make a verification firm")
    return cautions


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
