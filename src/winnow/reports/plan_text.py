"""The plan of a run as text and as a picture."""

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from winnow.config.labels import model_label
from winnow.deployment.engines import TITLES
from winnow.machine import three_digits
from winnow.text import aligned, titled

_MAX_EVENTS = 7  # of one kind in a row; of more, the first and the last _ENDS are shown
_ENDS = 2
_SIZES = 6  # of each kind of block in the extract of a latency table


def plan_text(plan: Mapping[str, Any], every_event: bool = False) -> str:
    """The plan as `winnow.commands.plan.make_plan` returns it; without ``every_event`` long series are shortened."""
    steps = f"{plan['steps_per_epoch']:,.6g} optimizer steps an epoch, {plan['total_steps']:,} in {plan['num_epochs']}"
    lines = [f"{plan['examples']:,} examples ({plan['examples_source']}) in batches of {plan['batch_size']}: {steps}"]
    if plan["dense_epochs"]:
        lines.append(f"The dense teacher is trained first, for {plan['dense_epochs']} epochs, unless it exists.")
    lines += ["", *_event_lines(plan["events"], every_event)]
    for modifier, matches in plan["matches"].items():
        total = sum(match["size"] for match in matches)
        lines += ["", f"{modifier}: {len(matches)} parameters, {total:,} weights"]
        lines += [f"  {line}" for line in aligned(_match_rows(matches))]
        lines += [f"  each update takes {plan['costs'][modifier]}"] if modifier in plan["costs"] else []
    lines += _speed_lines(plan["speed"]) if plan["speed"] else []
    before, after, zeros = (plan["parameters"][name] for name in ("before", "after", "zeros"))
    sizes = [["parameters", "before", "after"], *([part, f"{before[part]:,}", f"{after[part]:,}"] for part in before)]
    if zeros:
        sizes.append(["nonzero", "", f"{after['all'] - zeros:,}"])
    note = ["The numbers after are those before heads and neurons are removed."] if plan["speed"] else []
    return "\n".join([*titled(_title(plan), lines), "", *aligned(sizes), *note, ""])


def _title(plan: Mapping[str, Any]) -> str:
    return f"{plan['recipe']} of {model_label(plan['model'])} on {plan['task']}, teacher {plan['teacher']}"


def _event_lines(events: Sequence[Mapping[str, Any]], every_event: bool) -> list[str]:
    rows = [["step", "epoch", "modifier", "change", "sparsity", "learning rate"]]
    for (modifier, _), group in itertools.groupby(events, key=lambda row: (row["modifier"], row["change"])):
        cells = []
        for event in group:
            sparsity = "" if event["sparsity"] is None else f"{100 * event['sparsity']:.2f} %"
            rate = "" if event["learning_rate"] is None else f"{event['learning_rate']:.2e}"
            cells.append([f"{event['step']:,}", f"{event['epoch']:.2f}", modifier, event["change"], sparsity, rate])
        if len(cells) > _MAX_EVENTS and not every_event:
            left_out = f"{len(cells) - 2 * _ENDS} more (plan.all=true shows them)"
            cells[_ENDS:-_ENDS] = [["...", "", modifier, left_out, "", ""]]
        rows += cells
    return aligned(rows, left=(2, 3))


def _speed_lines(speed: Mapping[str, Any]) -> list[str]:
    """The speedup that is asked for, its conditions, and what the latency table says, if it is known."""
    counted = "counted in multiply-accumulates"
    if speed["latency"] == "measured":
        threads = f"{speed['threads']} thread{'s' if speed['threads'] > 1 else ''}"
        counted = f"as an {speed['precision']} model in {TITLES[speed['engine']]} with {threads}"
    call = f"batch {speed['batch_size']}, {speed['sequence_length']} tokens"
    asked = f"{speed['target_speedup']:g} times as fast as the dense float32 model"
    lines = ["", f"{speed['modifier']}: {asked}, {counted}, {call}"]
    known = speed["known"]
    if known is None:
        return [*lines, "  the latency of heads and neurons is measured before the first step"]
    unit, name = (1e-3, "ms") if speed["latency"] == "measured" else (1e6, "million")
    before, highest, *targets = map(three_digits, (known["before"], known["highest"], *known["targets"]))
    dense, rest = (f"{three_digits(known['table'][part] / unit)} {name}" for part in ("dense", "rest"))
    return [
        *lines,
        f"  speedup before the first stage {before}, after each stage {', '.join(targets)}; without heads and neurons "
        f"it would be {highest}",
        f"  the dense float32 model costs {dense}, everything but heads and neurons {rest}, and in each layer",
        *(f"    {line}" for line in aligned(_table_rows(known["table"], unit, name))),
    ]


def _table_rows(table: Mapping[str, Any], unit: float, name: str) -> list[list[str]]:
    """Some sizes of each kind of block, with their costs below them; all rows have as many cells."""
    rows = []
    for kind in ("heads", "neurons"):
        sizes = list(table[kind])
        shown = list(dict.fromkeys(sizes[round(i * (len(sizes) - 1) / (_SIZES - 1))] for i in range(_SIZES)))
        lacking = [""] * (_SIZES - len(shown))
        rows.append([kind, *(f"{size:,}" for size in shown), *lacking])
        rows.append([name, *(f"{table[kind][size] / unit:.3g}" for size in shown), *lacking])
    return rows


def _match_rows(matches: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """One row for the parameters that differ in the number of their layer only."""
    counts = Counter(
        (re.sub(r"\.\d+\.", ".*.", match["name"]), " x ".join(map(str, match["shape"]))) for match in matches
    )
    return [[name, shape, f"{n} times" if n > 1 else "once"] for (name, shape), n in counts.items()]


def draw_plan(curves: Mapping[str, Any], plan: Mapping[str, Any], path: Path) -> None:
    """Save a picture of sparsity, learning rate and loss weights over the epochs, one below the other.

    The curves are those of `winnow.modifiers.rehearsal.planned_curves`; the plan gives the title.
    """
    from matplotlib.figure import Figure  # heavy, and only needed for a picture

    prefixes = {"sparsity": "sparsity", "learning rate": "learning rate", "loss weights": "weight of "}
    panels = {
        label: quantities
        for label, prefix in prefixes.items()
        if (quantities := {name: lines for name, lines in curves.items() if name.startswith(prefix)})
    }
    figure = Figure(figsize=(8, 1.0 + 2.0 * len(panels)), dpi=150, layout="constrained")
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for ax, (label, quantities) in zip(axes, panels.items(), strict=True):
        for quantity, lines in quantities.items():
            for line, points in lines.items():
                name = line if label == "sparsity" else quantity.removeprefix("weight of ")
                ax.plot(*zip(*points, strict=True), label=name)
        ax.set(ylabel=label, ylim=(0, 1.05 * ax.dataLim.ymax))
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        if label != "learning rate":
            ax.set_ylim(-0.03, max(1.05, 1.05 * ax.dataLim.ymax))
            ax.legend(frameon=False, fontsize="small", loc="center right")
    axes[-1].set(xlabel="epoch", xlim=(0, plan["num_epochs"]))
    figure.suptitle(_title(plan))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
