"""The pictures of one task as they stand in the page, each with its words."""

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape

from winnow.loggers.history import History
from winnow.reports import curves, pareto_picture
from winnow.reports.cells import Cell
from winnow.reports.figures import SERIES, inline_svg
from winnow.reports.heat_map import heat_html, heat_map
from winnow.reports.pareto import Cost, front_cells, main_metric, measured, pictures
from winnow.reports.series import Look, looks

MOST_CURVES = 18  # in a page
_MOST_LINES = 40  # of a heat map
_PARETO = (5.0, 4.2)  # inches
_CURVES = (4.2, 3.3)


def pareto_figures(cells: Sequence[Cell]) -> str:
    """The metric against each cost that was measured, and a word on the others."""
    costs, words = pictures(cells)
    drawn = "\n".join(_pareto_figure(cells, cost) for cost in costs)
    said = f'<p class="quiet">{escape(" ".join(words))}</p>' if words else ""
    if not drawn:
        return said
    how = (
        "Bars are one standard deviation over seeds. A number at a point is the one in the recipe's name: 80 of "
        "prune80, 6 of layers6; after a comma stands the teacher."
    )
    return f'<h3>What it costs</h3>\n<p class="quiet">{how}</p>\n<div class="pictures">\n{drawn}\n</div>\n{said}'


def _pareto_figure(cells: Sequence[Cell], cost: Cost) -> str:
    best = "; ".join(cell.label for cell in front_cells(cells, cost)) or "none, as all lack seeds"
    title = f"{main_metric(cells)} against {cost.name}"
    alt = f"{title} of {len(measured(cells, cost))} configurations. Pareto front: {best}."
    svg = inline_svg(partial(pareto_picture.draw, cells=cells, cost=cost), _PARETO, alt)
    return (
        f"<figure>{svg}<figcaption>{escape(title)}. On the Pareto front, the cheapest first: {escape(best)}."
        "</figcaption></figure>"
    )


def heat_figure(cells: Sequence[Cell]) -> str:
    lines = heat_map(cells)
    if not lines:
        return ""
    shown = curves.spread(lines, _MOST_LINES)
    caption = (
        "Zeros among the weights of each layer, in percent: means over seeds and over matrices, of a single "
        "configuration matrix by matrix."
    )
    if len(shown) < len(lines):
        caption += f" {len(shown)} of {len(lines)} configurations are shown."
    return f"<h3>Sparsity by layer</h3>\n{heat_html(shown, caption)}"


def curve_figures(cells: Sequence[Cell], most: int) -> str:
    """The curves of so many recipes at most, with and without a teacher in one picture."""
    recipes: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        if cell.rows:
            recipes.setdefault((cell.model, cell.recipe, *cell.settings.values()), []).append(cell)
    chosen = curves.spread(list(recipes.values()), most)
    look, metric = looks(cells), main_metric(cells)
    runs = [[(cell, found) for cell in each if (found := curves.histories(cell))] for each in chosen]
    drawn = "\n".join(_curve_figure(found, look, metric) for found in runs if found)
    lacking = sum(map(len, chosen)) - sum(map(len, runs))
    words = [f"{len(chosen)} of {len(recipes)} recipes are shown."] if len(chosen) < len(recipes) else []
    words += [f"{lacking} configurations left no readable logs/metrics.csv."] if lacking else []
    said = f'<p class="quiet">{_key(look)} Seeds are thin, their mean is thick. {" ".join(words)}</p>'
    return f'<h3>Training</h3>\n{said}\n<div class="curves">\n{drawn}\n</div>' if drawn else ""


def _curve_figure(runs: Sequence[tuple[Cell, list[History]]], look: Mapping[str, Look], metric: str) -> str:
    name = runs[0][0].title
    coloured = [(look[cell.teacher].colour, found) for cell, found in runs]
    said = "; ".join(f"{look[cell.teacher].words}, seeds: {len(found)}" for cell, found in runs)
    alt = f"{metric} on validation data and training loss of {name} over the epochs ({said})"
    svg = inline_svg(partial(curves.draw, runs=coloured, metric=metric), _CURVES, alt)
    return f"<figure><figcaption>{escape(name)}</figcaption>{svg}</figure>"


def _key(look: Mapping[str, Look]) -> str:
    """Which colour is which, in words of that colour."""
    numbers = ((SERIES.index(each.colour) + 1, escape(each.words)) for each in look.values())
    return ", ".join(f'<b style="color: var(--series-{number})">{words}</b>' for number, words in numbers) + "."
