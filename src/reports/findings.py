"""Sentences that the figures of a table bear out, and no others."""

from collections.abc import Iterator, Sequence

from src.reports.cells import Cell, smaller_is_better
from src.reports.columns import Column, columns
from src.reports.pareto import ALIKE, main_metric

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
            f"teacher and as few parameters left{_too_small(len(fewer) - len(pairs))}."
        )


def _too_small(cells: int) -> str:
    return f"; {cells} more are too small to be compared" if cells else ""


def _is_rival(rival: Cell, cell: Cell, layers: float) -> bool:
    if not (rival.layers and rival.nonzero_parameters and cell.nonzero_parameters):
        return False
    same = (rival.model, rival.teacher) == (cell.model, cell.teacher)
    as_few = rival.nonzero_parameters.mean <= ALIKE * cell.nonzero_parameters.mean
    return same and as_few and rival.layers.mean == layers


def _teachers(cells: Sequence[Cell], metric: Column) -> Iterator[str]:
    """Each cell with a teacher against the same without one."""
    alone = {(cell.model, cell.recipe, str(cell.settings)): cell for cell in cells if cell.teacher == "none"}
    pairs: dict[str, list[tuple[Cell, Cell]]] = {}
    for cell in cells:
        other = alone.get((cell.model, cell.recipe, str(cell.settings)))
        if cell.teacher != "none" and other:
            pairs.setdefault(cell.teacher, []).append((cell, other))
    for teacher, group in pairs.items():
        gains = [_score(cell, metric) - _score(other, metric) for cell, other in group]
        better = _share(sum(gain > 0 for gain in gains), len(gains))
        low, high = (f"{end(gains):+.{metric.decimals}f}" for end in (min, max))
        yield (
            f"Teacher {teacher}: {better} recipes score better with it than without, by {low} to {high} {metric.name}"
            f"{_beside_the_seeds(gains, group, metric)}."
        )


def _beside_the_seeds(gains: Sequence[float], pairs: Sequence[tuple[Cell, Cell]], metric: Column) -> str:
    """How many differences are larger than both standard deviations, where there are some."""
    spreads = [[cell.metrics[metric.name].deviation for cell in pair] for pair in pairs]
    known = [(gain, max(filter(None, spread))) for gain, spread in zip(gains, spreads, strict=True) if any(spread)]
    larger = sum(abs(gain) > metric.factor * spread for gain, spread in known)
    return f"; {larger or 'none'} of these by more than a standard deviation over seeds" if known else ""


def _seeds(cells: Sequence[Cell]) -> Iterator[str]:
    if max(len(cell.rows) for cell in cells) == 1:
        yield "One seed each: small differences may be chance."


def _score(cell: Cell, metric: Column) -> float:
    """Of which more is better, in the unit that people read."""
    sign = -1 if smaller_is_better(metric.name) else 1
    return sign * metric.factor * cell.metrics[metric.name].mean


def _share(part: int, whole: int) -> str:
    return f"all {whole}" if part == whole else f"{part} of {whole}"
