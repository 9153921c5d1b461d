"""The summary at the end of a run: the model against its dense reference, and where everything lies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow.config.labels import model_label
from winnow.text import aligned, duration, relative_path


def summary(row: Mapping[str, Any], folder: Path, reference: tuple[Path, Mapping[str, Any]] | None) -> str:
    """A short table.

    Args:
        row: result.json of the run.
        folder: of the run.
        reference: folder and row of the dense run, where there is one.
    """
    dense = reference[1] if reference else None
    title = f"{row['recipe']} of {model_label(row['model'])} on {row['task']}, teacher {row['teacher']}"
    lines = [title, "-" * len(title)]
    header = ["", "dense", row["recipe"], "difference"] if dense else ["", row["recipe"]]
    table = [header, *_metric_rows(row, dense), *_size_rows(row, dense)]
    lines += aligned(table)
    folder = relative_path(folder)
    lines += ["", f"model    {folder / 'model'}", f"result   {folder / 'result.json'}"]
    if reference:
        lines.append(f"dense    {relative_path(reference[0])}")
    lines.append(f"again    python -m src.evaluate run={folder}")
    return "\n".join(lines)


def comparison(metrics: Mapping[str, Mapping[str, float]], recorded: Mapping[str, Mapping[str, float]]) -> str:
    """What was measured beside what a run recorded, for each split and metric."""
    table = [["", "now", "recorded"]]
    for split, values in metrics.items():
        for name, value in values.items():
            before = recorded.get(split, {}).get(name)
            table.append([f"{split} {name}", f"{value:.6f}", "-" if before is None else f"{before:.6f}"])
    return "\n".join(aligned(table))


def _metric_rows(row: Mapping[str, Any], dense: Mapping[str, Any] | None) -> list[list[str]]:
    rows = []
    for key, label in (("metrics", "{}"), ("test_metrics", "{} (test)")):
        for name, value in row[key].items():
            cells = [label.format(name)]
            if dense:
                before = dense[key].get(name)
                cells += (
                    ["-", f"{value:.4f}", ""]
                    if before is None
                    else [
                        f"{before:.4f}",
                        f"{value:.4f}",
                        f"{value - before:+.4f}",
                    ]
                )
            else:
                cells.append(f"{value:.4f}")
            rows.append(cells)
    return rows


def _size_rows(row: Mapping[str, Any], dense: Mapping[str, Any] | None) -> list[list[str]]:
    both = [dense, row] if dense else [row]
    rows = [
        ["encoder sparsity", *(f"{100 * r['sparsity']:.2f} %" for r in both)],
        ["parameters", *(f"{r['parameters']:,}" for r in both)],
        ["not zero", *(f"{r['nonzero_parameters']:,}" for r in both)],
        ["training time", *(duration(r["train_seconds"]) for r in both)],
    ]
    return [[*cells, ""] if dense else cells for cells in rows]
