"""Sentences that the figures of a table bear out, and no others."""

from collections.abc import Iterator, Sequence

from src.reports.cells import Cell, smaller_is_better
from src.reports.columns import Column, columns
from src.reports.pareto import main_metric

_LEVELS = 8  # sparsities of which the best is named


def findings(cells: Sequence[Cell]) -> list[str]:
    """What the cells of one task say about its main metric."""
    scored = [cell for cell in cells if main_metric(cells) in cell.metrics]
    if not scored:
        return ["No run has a result yet."]
    metric = columns(cells)[0]
    return [
        *_dense(scored, metric),
        *_by_sparsity(scored, metric),
        *_layers(scored, metric),
        *_teachers(scored, metric),
        *_seeds(scored),
    ]


def _dense(cells: Sequence[Cell], metric: Column) -> Iterator[str]:
    for cell in cells:
        if (cell.recipe, cell.teacher) == ("dense", "none"):
            yield f"{cell.label}: {metric.name} {metric.text(cell.metrics[metric.name])}{_of(cell)}."


def _of(cell: Cell) -> str:
    return f" over {len(cell.rows)} seeds" if len(cell.rows) > 1 else ""


def _by_sparsity(cells: Sequence[Cell], metric: Column) -> Iterator[str]:
    """The best at each sparsity, and how much of the dense score it keeps."""
    levels: dict[int, list[Cell]] = {}
    for cell in cells:
        if cell.sparsity and (level := round(100 * cell.sparsity.mean)):
            levels.setdefault(level, []).append(cell)
    best = {level: max(group, key=lambda cell: _score(cell, metric)) for level, group in sorted(levels.items())}
    said = [f"{level} %: {_kept(cell, metric)} ({cell.label})" for level, cell in list(best.items())[-_LEVELS:]]
    if said:
        yield f"Best at each encoder sparsity: {'; '.join(said)}."


def _kept(cell: Cell, metric: Column) -> str:
    if cell.recovery is None:
        return f"{metric.name} {metric.number(cell.metrics[metric.name].mean)}"
    return f"{100 * cell.recovery.mean:.1f} % of dense"


def _layers(cells: Sequence[Cell], metric: Column) -> Iterator[str]:
    """Fewer layers against zeros in all of them, where one of each has about as many parameters left."""
    known = [cell for cell in cells if cell.layers and cell.nonzero_parameters]
    most = max((cell.layers.mean for cell in known if cell.layers), default=0)
    fewer = [cell for cell in known if cell.layers and cell.layers.mean < most]
    pairs = [(cell, rivals) for cell in fewer if (rivals := [r for r in known if _is_rival(r, cell, most)])]
    beaten = sum(max(_score(rival, metric) for rival in rivals) > _score(cell, metric) for cell, rivals in pairs)
    if pairs:
        yield (
            f"Fewer layers: {_share(beaten, len(pairs))} cells score worse than a pruned one with all layers, the same "
            f"teacher and no more parameters left; {len(fewer) - len(pairs)} more are too small to be compared."
        )


def _is_rival(rival: Cell, cell: Cell, layers: float) -> bool:
    if not (rival.layers and rival.nonzero_parameters and cell.nonzero_parameters):
        return False
    same = (rival.model, rival.teacher) == (cell.model, cell.teacher)
    return same and rival.layers.mean == layers and rival.nonzero_parameters.mean <= cell.nonzero_parameters.mean


def _teachers(cells: Sequence[Cell], metric: Column) -> Iterator[str]:
    """Each cell with a teacher against the same without one."""
    alone = {(cell.model, cell.recipe, str(cell.settings)): cell for cell in cells if cell.teacher == "none"}
    gains: dict[str, list[float]] = {}
    for cell in cells:
        other = alone.get((cell.model, cell.recipe, str(cell.settings)))
        if cell.teacher != "none" and other:
            gains.setdefault(cell.teacher, []).append(_score(cell, metric) - _score(other, metric))
    for teacher, values in gains.items():
        better = sum(value > 0 for value in values)
        low, high = (f"{end(values):+.{metric.decimals}f}" for end in (min, max))
        yield (
            f"Teacher {teacher}: {_share(better, len(values))} recipes score better with it than without, by {low} to "
            f"{high} {metric.name}."
        )


def _seeds(cells: Sequence[Cell]) -> Iterator[str]:
    if max(len(cell.rows) for cell in cells) == 1:
        yield "One seed each: small differences may be chance."


def _score(cell: Cell, metric: Column) -> float:
    """Of which more is better, in the unit that people read."""
    sign = -1 if smaller_is_better(metric.name) else 1
    return sign * metric.factor * cell.metrics[metric.name].mean


def _share(part: int, whole: int) -> str:
    return f"all {whole}" if part == whole else f"{part} of {whole}"
