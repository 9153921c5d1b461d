"""The summary at the end of an export: sizes, matmuls, how closely the graph matches the model, how to use it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from winnow.command_line import command_line
from winnow.config.labels import model_label
from winnow.deployment.speedup import speedup_text
from winnow.reports.engine_comparison import comparison_text
from winnow.text import aligned, four_digits, relative_path, titled

_STABLE = 0.99  # share of the predictions that small noise should leave unchanged
_ENOUGH = 200  # inputs for a reliable verification


def export_summary(row: Mapping[str, Any], report: Mapping[str, Any], folder: Path) -> str:
    """A short table from result.json (``row``) and verification.json (``report``) of a deployment."""
    facts, table = row["deployment"], verified_figures(row, report)
    folder, texts = relative_path(folder), " ".join(f'{name}="..."' for name in report["samples"]["texts"])
    lines = [*aligned(table), "", *_cautions(report)]
    lines += [
        f"deployment   {folder}",
        f"verified     on {report['samples']['inputs']:,} inputs, see its verification.json",
        f"next         {command_line('predict', f'deployment={folder}')} {texts}",
    ]
    if "speedup" in facts:
        lines += [f"speedup      {speedup_text(facts['speedup'])}"]
        lines += [f"note         {note}" for note in facts["speedup"]["notes"]]
    if "latency" in facts:
        lines += ["", comparison_text(row, folder)]
    return "\n".join(
        titled(f"{row['recipe']} of {model_label(row['model'])} on {row['task']}, {report['precision']}", lines)
    )


def verified_figures(row: Mapping[str, Any], report: Mapping[str, Any]) -> list[list[str]]:
    """The lines of a table of each engine's metrics, agreement with PyTorch and sizes; titles come first."""
    facts, logits = row["deployment"], report["logits"]
    columns = {"ONNX Runtime": _figures(report, "onnxruntime", facts)}
    if "sparse" in facts:
        columns["sparse engine"] = _figures(report["sparse"], "sparse", facts["sparse"])
    pytorch = {n: four_digits(value) for n, value in report["metrics"]["pytorch"].items()}
    pytorch[f"  of {logits['control']}"] = f"{logits['control_mean_difference']:.2g}"
    columns, names = {"PyTorch": pytorch, **columns}, dict.fromkeys(n for each in columns.values() for n in each)
    return [["", *columns], *([name, *(each.get(name, "") for each in columns.values())] for name in names)]


def _figures(report: Mapping[str, Any], engine: str, facts: Mapping[str, Any]) -> dict[str, str]:
    return {
        **{name: four_digits(value) for name, value in report["metrics"][engine].items()},
        "same predictions": f"{100 * report['predictions']['agreement']:.2f} %",
        "mean logit difference": f"{report['logits']['mean_difference']:.2g}",
        f"  of {report['logits']['control']}": "",
        **(_matmuls(report["matmuls"]) if engine == "onnxruntime" else {}),
        "size": f"{facts['bytes'] / 1e6:,.1f} MB",
        "  compressed by zstd": f"{facts['compressed_bytes'] / 1e6:,.1f} MB",
        **({"empty blocks": f"{100 * facts['empty_blocks']:.2f} %"} if engine == "sparse" else {}),
        **({"linear layers": f"{facts['packed']} packed, {facts['alone']} alone"} if engine == "sparse" else {}),
    }


def _matmuls(matmuls: Mapping[str, Any]) -> dict[str, str]:
    if not matmuls["expected_int8"]:
        return {"matmuls in float": f"{matmuls['as_exported']['float']}"}
    counts = {"matmuls in int8": matmuls["as_exported"], "  in a fixed shape": matmuls["fixed_shape"]}
    return {name: f"{count['int8']} of {count['int8'] + count['float']}" for name, count in counts.items()}


def _cautions(report: Mapping[str, Any]) -> Iterator[str]:
    """Reasons why the verification shows less than its figures suggest."""
    predictions, inputs = report["predictions"], report["samples"]["inputs"]
    if len(predictions["pytorch"]) == 1:
        only = next(iter(predictions["pytorch"]))
        yield f"caution      the model predicts '{only}' for every input, so equal predictions show little"
    if predictions["control_agreement"] < _STABLE:
        share = 100 * (1 - predictions["control_agreement"])
        yield f"caution      noise of one in a million changes {share:.1f} % of the model's predictions"
    if inputs < _ENOUGH:
        yield f"caution      the run has {inputs} inputs in all; a reliable verification takes {_ENOUGH}"
