"""Sentences that the figures of a table bear out, and no others."""

from collections.abc import Iterator, Sequence

from winnow.reports.cells import Cell, comparable, smaller_is_better
from winnow.reports.columns import Column, columns, percent
from winnow.reports.pareto import ALIKE, main_metric, with_all_layers

_LEVELS = 8  # sparsities of which the best is named


def findings(cells: Sequence[Cell]) -> list[str]:
    """What the cells of one task say about its main metric; those that lack seeds are compared with none."""
    name = main_metric(cells)
    scored = [cell for cell in cells if name in cell.metrics]
    if not scored:
        return ["No run has a result yet."]
    metric = columns(cells)[0]
    fair = comparable(scored, metric.statistic)
    return [
        *_dense(scored, metric),
        *_by_sparsity(fair, metric),
        *_layers(fair, metric),
        *_teachers(fair, metric),
        *_seeds(scored, fair, metric),
    ]


def _dense(cells: Sequence[Cell], metric: Column) -> Iterator[str]:
    for cell in cells:
        if cell.is_dense:
            seeds = len(cell.metrics[metric.name].values)
            over = f" over {seeds} seeds" if seeds > 1 else ""
            yield f"{cell.label}: {metric.name} {metric.text(cell.metrics[metric.name])}{over}."


def _by_sparsity(cells: Sequence[Cell], metric: Column) -> Iterator[str]:
    """The best at each sparsity, and how much of the dense score it keeps."""
    levels: dict[str, list[Cell]] = {}
    for cell in sorted((cell for cell in cells if cell.sparsity), key=_sparsity):
        levels.setdefault(percent(_sparsity(cell)), []).append(cell)
    levels.pop("0", None)
    best = [(level, max(group, key=lambda cell: _score(cell, metric))) for level, group in levels.items()]
    said = [f"{level} %: {_kept(cell, metric)} ({cell.label})" for level, cell in best[-_LEVELS:]]
    if said:
        which = "each encoder sparsity" if len(best) <= _LEVELS else f"the {_LEVELS} highest encoder sparsities"
        yield f"Best at {which}: {'; '.join(said)}."


def _sparsity(cell: Cell) -> float:
    return cell.sparsity.mean if cell.sparsity else 0.0


def _kept(cell: Cell, metric: Column) -> str:
    if cell.recovery is None:
        return f"{metric.name} {metric.number(cell.metrics[metric.name].mean)}"
    return f"{100 * cell.recovery.mean:.1f} % of dense"


def _layers(cells: Sequence[Cell], metric: Column) -> Iterator[str]:
    """Fewer layers against zeros in all of them, where one of each has about as many parameters left."""
    known = [cell for cell in cells if cell.layers and cell.nonzero_parameters]
    whole = with_all_layers(known)
    fewer = [cell for cell in known if cell not in whole]
    pairs = [
        (cell, max(rivals, key=lambda rival: _score(rival, metric)))
        for cell in fewer
        if (rivals := [rival for rival in whole if _is_rival(rival, cell)])
    ]
    beaten = sum(_gain(rival, cell, metric) > 0 for cell, rival in pairs)
    small = f"; {len(fewer) - len(pairs)} more are too small to be compared" if len(pairs) < len(fewer) else ""
    if pairs:
        yield (
            f"Fewer layers: {beaten} of {len(pairs)} cells score worse than a pruned one with all layers, the same "
            f"teacher and as few parameters left{_beside_the_seeds(pairs, metric)}{small}."
        )


def _is_rival(rival: Cell, cell: Cell) -> bool:
    if not (rival.nonzero_parameters and cell.nonzero_parameters):
        return False
    same = (rival.model, rival.teacher) == (cell.model, cell.teacher)
    return same and rival.nonzero_parameters.mean <= ALIKE * cell.nonzero_parameters.mean


def _teachers(cells: Sequence[Cell], metric: Column) -> Iterator[str]:
    """Each cell with a teacher against the same without one."""
    alone = {cell.title: cell for cell in cells if cell.teacher == "none"}
    for teacher in dict.fromkeys(cell.teacher for cell in cells if cell.teacher != "none"):
        pairs = [(alone[cell.title], cell) for cell in cells if cell.teacher == teacher and cell.title in alone]
        gains = [_gain(cell, other, metric) for other, cell in pairs]
        if gains:
            low, high = (f"{end(gains):+z.{metric.decimals}f}" for end in (min, max))
            yield (
                f"Teacher {teacher}: {sum(gain > 0 for gain in gains)} of {len(gains)} recipes score better with it "
                f"than without, by {low} to {high} {metric.name}{_beside_the_seeds(pairs, metric)}."
            )


def _beside_the_seeds(pairs: Sequence[tuple[Cell, Cell]], metric: Column) -> str:
    """How many differences are larger than both standard deviations, where there are some."""
    spreads = [[cell.metrics[metric.name].deviation for cell in pair] for pair in pairs]
    known = [(pair, max(filter(None, spread))) for pair, spread in zip(pairs, spreads, strict=True) if any(spread)]
    larger = sum(abs(_gain(*pair, metric)) > spread for pair, spread in known)
    return f"; the difference exceeds a standard deviation over seeds in {larger or 'none'}" if known else ""


def _seeds(scored: Sequence[Cell], fair: Sequence[Cell], metric: Column) -> Iterator[str]:
    if len(fair) < len(scored):
        yield f"Not compared, as they lack seeds that others have: {len(scored) - len(fair)} of {len(scored)} cells."
    if max(len(cell.metrics[metric.name].values) for cell in scored) == 1:
        yield "One seed each: small differences may be chance."


def _gain(cell: Cell, other: Cell, metric: Column) -> float:
    """By how much one scores better than the other, in the digits that people read."""
    return round(_score(cell, metric) - _score(other, metric), metric.decimals)


def _score(cell: Cell, metric: Column) -> float:
    """Of which more is better."""
    mean = cell.metrics[metric.name].mean
    return -mean if smaller_is_better(metric.name) else mean
