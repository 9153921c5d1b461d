"""A report as one HTML page that needs no network and no script: page.html filled in, with its style and pictures."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from winnow.loggers.history import read_history
from winnow.reports.class_scores import class_scores, confusions, draw_confusion, hardest_first
from winnow.reports.cost_picture import draw_costs
from winnow.reports.cost_plots import CostPlot, cost_plots
from winnow.reports.findings import findings
from winnow.reports.groups import Group, main_metric
from winnow.reports.heat_map import heat_map, percent_of_zeros
from winnow.reports.markdown import failures
from winnow.reports.plot_style import Look, svg_uri, teacher_looks
from winnow.reports.results import Results
from winnow.reports.structure_picture import draw_structure, structures_left
from winnow.reports.tables import Cell, Table, tables
from winnow.reports.training_curves import draw_curves

T = TypeVar("T")

_FOLDER = Path(__file__).parent
_MAX_TASKS = 6  # that have pictures
_MAX_COMMANDS = 3  # that are not folded
_MAX_CURVES = 18  # pictures of training in a page
_MAX_HEAT_LINES = 40
_MAX_STRUCTURES = 12  # pictures of heads and neurons for a task
_MAX_CLASS_GROUPS = 6  # configurations with scores by class, in a table and in pictures
_MAX_CLASSES = 12  # that are not folded
_MAX_CONFUSIONS = 5  # pairs of labels below a picture
_COST_SIZE, _CURVES_SIZE = (5.0, 4.2), (4.2, 3.3)  # inches
_CONFUSION_SIZE = (4.2, 3.9)
_HIGH_CONTRAST = 0.66  # sparsity from which the inverse text colour has more contrast with the field


class Picture(NamedTuple):
    uri: str
    alt: str
    caption: str


def page(results: Results) -> str:
    """The whole report in HTML."""
    environment = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True)
    max_curves = max(2, _MAX_CURVES // max(1, min(len(results.tasks), _MAX_TASKS)))
    sections: list[dict[str, Any]] = []
    for i, (groups, table) in enumerate(zip(results.tasks, tables(results), strict=True)):
        sections.append({"task": groups[0].task, "table": table, "findings": findings(groups)})
        if i < _MAX_TASKS:
            sections[-1] |= _pictures(groups, max_curves)
        else:
            sections[-1]["plot_notes"] = [f"Pictures are drawn for the first {_MAX_TASKS} tasks only."]
    title = f"Results: {', '.join(section['task'] for section in sections) or 'none'}"
    return environment.get_template("page.html").render(
        title=sections[0]["table"].title if len(sections) == 1 else title,
        style=Markup((_FOLDER / "page.css").read_text()),
        summary=_summary(results.groups),
        results=results,
        sections=sections,
        lists={"Failed": [": ".join(each) for each in failures(results.groups)], "Left out": results.left_out},
        commands=_commands(results),
        max_commands=_MAX_COMMANDS,
        max_classes=_MAX_CLASSES,
        high_contrast=_HIGH_CONTRAST,
        kinds=_kinds,
        percent_of_zeros=percent_of_zeros,
    )


def _kinds(table: Table, column: int, cell: Cell | None = None) -> str:
    """The classes of a cell or, without one, of the head of a column."""
    is_key = table.columns[column] == "recipe"  # stays in place while the others scroll
    kinds = ("word" if column < table.num_names else "", "key" if is_key else "", cell.mark if cell else "")
    return " ".join(filter(None, kinds))


def _summary(groups: Sequence[Group]) -> str:
    """How many configurations and runs there are, and when the last one ended."""
    counts = Counter(row.status for group in groups for row in (*group.runs, *group.failed, *group.missing))
    runs = [f"{counts['ok']} finished", *(f"{counts[each]} {each}" for each in ("failed", "missing") if counts[each])]
    last = max((run.written for group in groups for run in group.runs), default=None)
    when = f", the last on {datetime.fromtimestamp(last):%Y-%m-%d at %H:%M}" if last is not None else ""
    return f"configurations: {sum(group.has_runs for group in groups)}; runs: {', '.join(runs)}{when}."


def _commands(results: Results) -> list[str]:
    """Those that made the runs, each once: of a sweep its own commands and not those of its jobs."""
    runs = {run.folder: run.command for group in results.groups for run in group.runs}
    sweeps = {command: folders & runs.keys() for command, folders in results.commands.items() if command}
    planned = set().union(*sweeps.values())
    own = [command for folder, command in runs.items() if folder not in planned]
    return list(dict.fromkeys(command for command in (*filter(sweeps.get, sweeps), *own) if command))


def _pictures(groups: Sequence[Group], max_curves: int) -> dict[str, Any]:
    looks = teacher_looks(group.teacher for group in groups)
    plots, plot_notes = cost_plots(groups)
    heat_lines = heat_map(groups)
    shown = evenly_spaced(heat_lines, _MAX_HEAT_LINES)
    is_all = len(shown) == len(heat_lines)
    curves, curve_notes = _curves(groups, looks, max_curves)
    return {
        "plots": [_cost_picture(plot) for plot in plots],
        "plot_notes": plot_notes,
        "heat_lines": shown,
        "heat_note": "" if is_all else f"{len(shown)} of {len(heat_lines)} configurations are shown.",
        "layers": sorted({layer for _, sparsities in shown for layer in sparsities}),
        "looks": [looks[teacher] for teacher in dict.fromkeys(group.teacher for group in groups)],
        "structures": _structures(groups),
        **_classes(groups),
        "curves": curves,
        "curve_notes": curve_notes,
    }


def _cost_picture(plot: CostPlot) -> Picture:
    front = "; ".join(group.label for group in plot.front) or "none, because all lack seeds"
    title = f"{plot.metric} against {plot.cost.name}"
    alt = f"{title} of {len(plot.groups)} configurations. Pareto front: {front}."
    uri = svg_uri(partial(draw_costs, plot=plot), _COST_SIZE)
    return Picture(uri, alt, f"{title}. On the Pareto front, the cheapest first: {front}.")


def _structures(groups: Sequence[Group]) -> list[Picture]:
    """Pictures of the configurations whose models lack some heads and neurons."""
    found = [(group.label, left) for group in groups if (left := structures_left(group))]
    pictures = []
    for label, left in evenly_spaced(found, _MAX_STRUCTURES):
        listed = "; ".join(f"{h:g} and {n:g}" for h, n in zip(left.heads, left.neurons, strict=True))
        alt = f"Heads and neurons left in each layer of {label}, first layer first: {listed}."
        pictures.append(Picture(svg_uri(partial(draw_structure, left=left), _CURVES_SIZE), alt, label))
    return pictures


def _classes(groups: Sequence[Group]) -> dict[str, Any]:
    """F1 by class and confusions of some configurations."""
    found = [(group.label, scores) for group in groups if (scores := class_scores(group))]
    shown = evenly_spaced(found, _MAX_CLASS_GROUPS)
    pictures = []
    for name, scores in shown:
        if scores.confusion is not None:  # labels exclude one another
            often = "; ".join(confusions(scores, _MAX_CONFUSIONS)) or "none"
            alt = f"Confusion matrix of {name} with {len(scores.labels)} labels. Most frequent confusions: {often}."
            uri = svg_uri(partial(draw_confusion, scores=scores), _CONFUSION_SIZE)
            pictures.append((Picture(uri, alt, name), often))
    return {
        "classes": hardest_first([scores for _, scores in shown]),
        "class_scores": shown,
        "class_note": "" if len(shown) == len(found) else f"{len(shown)} of {len(found)} configurations are shown.",
        "confusions": pictures,
    }


def _curves(groups: Sequence[Group], looks: Mapping[str, Look], most: int) -> tuple[list[Picture], list[str]]:
    """Pictures of at most so many recipes, each with and without its teachers; and notes."""
    recipes: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        if group.runs:
            recipes.setdefault((group.model, group.recipe, *group.shown_settings.values()), []).append(group)
    chosen = evenly_spaced(list(recipes.values()), most)
    metric = main_metric(groups)
    histories = {
        group: [found for run in group.runs if (found := read_history(run.folder, metric, run.epochs))]
        for group in itertools.chain(*chosen)
    }
    pictures = []
    for alike in chosen:
        curves = [(looks[group.teacher], histories[group]) for group in alike if histories[group]]
        if curves:
            counts = "; ".join(f"{look.text}, seeds: {len(seeds)}" for look, seeds in curves)
            alt = f"{metric} on validation data and training loss of {alike[0].title} over the epochs ({counts})"
            uri = svg_uri(partial(draw_curves, curves=curves, metric=metric), _CURVES_SIZE)
            pictures.append(Picture(uri, alt, alike[0].title))
    notes = [f"{len(chosen)} of {len(recipes)} recipes are shown."] if len(chosen) < len(recipes) else []
    if lacking := sum(not seeds for seeds in histories.values()):
        notes.append(f"{lacking} configurations have no readable logs/metrics.csv.")
    if short := sum(bool(seeds) and not any(run.loss for run in seeds) for seeds in histories.values()):
        notes.append(f"{short} configurations have no loss: their runs are shorter than trainer.log_every_n_steps.")
    return pictures, notes


def evenly_spaced(entries: Sequence[T], most: int) -> list[T]:
    """At most so many entries, evenly from the first to the last."""
    chosen = np.linspace(0, len(entries) - 1, min(len(entries), most)).round()
    return [entries[int(i)] for i in chosen]
