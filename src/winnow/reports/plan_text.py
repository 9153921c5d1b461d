"""A plan as text and as a picture."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from winnow.config.labels import model_label
from winnow.text import aligned

_FOLDED = 8  # of so many like events in a row or more, the first and the last ones are shown
_ENDS = 2


def plan_text(plan: Mapping[str, Any], every_event: bool = False) -> str:
    """The plan as `winnow.commands.plan.make_plan` returns it, for a terminal.

    Args:
        plan: the plan.
        every_event: false folds long runs of like events.
    """
    title = f"{plan['recipe']} of {model_label(plan['model'])} on {plan['task']}, teacher {plan['teacher']}"
    steps = f"{plan['steps_per_epoch']:,.6g} optimizer steps an epoch, {plan['total_steps']:,} in {plan['num_epochs']}"
    lines = [title, "-" * len(title)]
    lines += [f"{plan['examples']:,} examples ({plan['examples_source']}) in batches of {plan['batch_size']}: {steps}"]
    if plan["dense_epochs"]:
        lines.append(f"The dense teacher is trained before, for {plan['dense_epochs']} epochs, unless there is one.")
    lines += ["", *_event_lines(plan["events"], every_event)]
    for modifier, matches in plan["matches"].items():
        total = sum(match["size"] for match in matches)
        lines += ["", f"{modifier}: {len(matches)} parameters, {total:,} weights"]
        lines += [f"  {line}" for line in aligned(list(_match_rows(matches)))]
    return "\n".join([*lines, "", *_parameter_lines(plan["parameters"]), ""])


def _event_lines(events: Sequence[Mapping[str, Any]], every_event: bool) -> list[str]:
    rows: list[list[str]] = []
    for _, group in itertools.groupby(events, key=lambda row: (row["modifier"], row["change"])):
        run = list(group)
        if every_event or len(run) < _FOLDED:
            rows += map(_event_cells, run)
            continue
        rows += map(_event_cells, run[:_ENDS])
        rows.append(["...", "", run[0]["modifier"], f"{len(run) - 2 * _ENDS} more (plan.all=true shows them)", "", ""])
        rows += map(_event_cells, run[-_ENDS:])
    header = ["step", "epoch", "modifier", "change", "sparsity", "learning rate"]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    sides = (str.rjust, str.rjust, str.ljust, str.ljust, str.rjust, str.rjust)
    return [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]


def _event_cells(row: Mapping[str, Any]) -> list[str]:
    sparsity = "" if row["sparsity"] is None else f"{100 * row['sparsity']:.2f} %"
    rate = "" if row["learning_rate"] is None else f"{row['learning_rate']:.2e}"
    return [f"{row['step']:,}", f"{row['epoch']:.2f}", row["modifier"], row["change"], sparsity, rate]


def _match_rows(matches: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """One row for the like parameters of all layers."""
    alike: dict[tuple[str, str], int] = {}
    for match in matches:
        key = re.sub(r"\.\d+\.", ".*.", match["name"]), " x ".join(map(str, match["shape"]))
        alike[key] = alike.get(key, 0) + 1
    for (name, shape), count in alike.items():
        yield [name, shape, f"{count} times" if count > 1 else "once"]


def _parameter_lines(parameters: Mapping[str, Any]) -> list[str]:
    before, after = parameters["before"], parameters["after"]
    table = [["parameters", "before", "after"]]
    table += [[part, f"{before[part]:,}", f"{after[part]:,}"] for part in before]
    if parameters["zeros"]:
        table.append(["not zero", "", f"{after['all'] - parameters['zeros']:,}"])
    return aligned(table)


def draw_plan(curves: Mapping[str, Any], plan: Mapping[str, Any], path: Path) -> None:
    """Sparsity, learning rate and loss weights over the epochs, one below the other, as a PNG.

    Args:
        curves: as `winnow.modifiers.rehearsal.planned_curves` returns them.
        plan: for the title.
        path: of the picture.
    """
    from matplotlib.figure import Figure

    panels = {
        "sparsity": {k: v for k, v in curves.items() if k == "sparsity"},
        "learning rate": {k: v for k, v in curves.items() if k == "learning rate"},
        "loss weights": {k: v for k, v in curves.items() if k.startswith("weight of")},
    }
    panels = {label: quantities for label, quantities in panels.items() if quantities}
    figure = Figure(figsize=(8, 1.0 + 2.0 * len(panels)), dpi=150, layout="constrained")
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for ax, (label, quantities) in zip(axes, panels.items(), strict=True):
        for quantity, lines in quantities.items():
            for line, points in lines.items():
                name = line if label == "sparsity" else quantity.removeprefix("weight of ")
                ax.plot(*zip(*points, strict=True), label=name, linewidth=1.5)
        ax.set_ylabel(label)
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        top = max(value for lines in quantities.values() for points in lines.values() for _, value in points)
        ax.set_ylim(0, 1.05 * top)
        if label != "learning rate":
            ax.set_ylim(-0.03, max(1.05, 1.05 * top))
            ax.legend(frameon=False, fontsize="small", loc="center right")
    axes[-1].set_xlabel("epoch")
    axes[-1].set_xlim(0, plan["num_epochs"])
    figure.suptitle(f"{plan['recipe']} of {model_label(plan['model'])} on {plan['task']}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
