"""The summary at the end of a run: the model beside its dense reference, and the folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow.command_line import command_line
from winnow.config.labels import model_label
from winnow.text import aligned, duration, four_digits, relative_path, titled


def summary(row: Mapping[str, Any], folder: Path, reference: tuple[Path, Mapping[str, Any]] | None) -> str:
    """A short table from the result.json of a run and, if it has one, of its dense reference, each with its folder."""
    table = figures(row, reference[1] if reference else None)
    folder = relative_path(folder)
    lines = [""]
    if constant := row.get("constant_prediction"):
        lines += [
            f"caution  the model predicts '{constant}' for every input; train longer or change the learning rate",
            "",
        ]
    lines += [f"model    {folder / 'model'}", f"result   {folder / 'result.json'}"]
    if reference:
        lines.append(f"dense    {relative_path(reference[0])}")
    lines.append(f"again    {command_line('evaluate', f'run={folder}')}")
    title = f"{row['recipe']} of {model_label(row['model'])} on {row['task']}, teacher {row['teacher']}"
    return "\n".join(titled(title, [*aligned(table), *lines]))


def figures(row: Mapping[str, Any], dense: Mapping[str, Any] | None) -> list[list[str]]:
    """The lines of a table of metrics and sizes, beside those of the dense run; titles come first."""
    rows = [dense, row] if dense else [row]
    table = [["", "dense", row["recipe"], "difference"] if dense else ["", row["recipe"]]]
    for section, suffix in (("metrics", ""), ("test_metrics", " (test)")):
        for name, value in row[section].items():
            values = [each[section].get(name) for each in rows]
            difference = "" if None in values else f"{value - values[0]:+.4f}"
            table.append([name + suffix, *map(four_digits, values), *([difference] if dense else [])])
    sizes = [
        ["encoder sparsity", *(f"{100 * each['sparsity']:.2f} %" for each in rows)],
        ["parameters", *(f"{each['parameters']:,}" for each in rows)],
        ["nonzero", *(f"{each['nonzero_parameters']:,}" for each in rows)],
        ["training time", *(duration(each["train_seconds"]) for each in rows)],
    ]
    if any("decision_threshold" in each for each in rows):
        sizes.insert(0, ["threshold", *(f"{each.get('decision_threshold', 0.5):g}" for each in rows)])
    return table + [[*cells, ""] if dense else cells for cells in sizes]


def comparison(
    metrics: Mapping[str, Mapping[str, float | None]], recorded: Mapping[str, Mapping[str, float | None]], engine: str
) -> str:
    """Each metric of each split as ``engine`` has measured it now, beside its value in result.json."""
    table = [["", f"measured now ({engine})", "recorded by the run (PyTorch)"]]
    for split, values in metrics.items():
        for name, value in values.items():
            both = (value, recorded.get(split, {}).get(name))
            table.append([f"{split} {name}", *("-" if each is None else f"{each:.6f}" for each in both)])
    return "\n".join(aligned(table))
