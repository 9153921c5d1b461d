"""What a model costs beside what it scores: which pictures a report has, and which cells no other beats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from winnow.reports.cells import Cell, Statistic, comparable, one_machine, smaller_is_better

ALIKE = 1.02  # costs whose ratio is smaller are taken as equal: a head more, the noise of a clock
_LEAST = 1e-4  # of the weights are left, on an axis that is a logarithm


@dataclass(frozen=True)
class Cost:
    """A quantity of which less is better; of zeros it is the weights that are left.

    Args:
        name: in a sentence.
        axis: with its unit.
        of: what was measured of a cell; None where it was not.
        scale: from the unit of a row to that of the axis.
    """

    name: str
    axis: str
    of: Callable[[Cell], Statistic | None]
    scale: float = 1.0

    def value(self, cell: Cell) -> float:
        """The mean over seeds in the unit of the axis."""
        statistic = self.of(cell)
        assert statistic is not None, cell.label
        return self.scale * statistic.mean

    def deviation(self, cell: Cell) -> float:
        statistic = self.of(cell)
        return self.scale * ((statistic and statistic.deviation) or 0.0)


def _left(cell: Cell) -> Statistic | None:
    return cell.sparsity and Statistic(tuple(max(1 - value, _LEAST) for value in cell.sparsity.values))


PARAMETERS = Cost(
    "parameters that are not zero", "parameters that are not zero, millions", lambda cell: cell.nonzero_parameters, 1e-6
)
SPARSITY = Cost("encoder sparsity", "encoder sparsity, % (by the logarithm of what is left)", _left)
SIZE = Cost("packed size", "packed size, MB", lambda cell: cell.compressed_bytes, 1e-6)
LATENCY = Cost("latency", "latency of one input, ms", lambda cell: cell.latency, 1e3)


def pictures(cells: Sequence[Cell]) -> tuple[list[Cost], list[str]]:
    """The costs to draw of a task's cells, the main one first, and sentences about those that cannot be drawn."""
    layers = {cell.layers.mean for cell in cells if cell.layers}
    order = [PARAMETERS, SPARSITY] if len(layers) > 1 else [SPARSITY]
    drawn, words = [], []
    for cost in (*order, SIZE, LATENCY):
        values = [round(cost.value(cell), 4) for cell in measured(cells, cost)]
        if len(values) < 2:
            measured_of = "was measured of one cell alone" if values else "was not measured"
            words.append(f"No picture against {cost.name}: it {measured_of}.")
        elif len(set(values)) == 1:
            words.append(f"No picture against {cost.name}: it is the same everywhere.")
        elif cost is LATENCY and not one_machine(cells):
            words.append(f"No picture against {cost.name}: it is of unlike processors, threads or lengths.")
        else:
            drawn.append(cost)
    return drawn, words


def measured(cells: Sequence[Cell], cost: Cost) -> list[Cell]:
    """Those that a picture can show; by sparsity only the ones with all their layers, which alone can be compared."""
    known = [cell for cell in cells if main_metric(cells) in cell.metrics and cost.of(cell)]
    return with_all_layers(known) if cost is SPARSITY else known


def with_all_layers(cells: Sequence[Cell]) -> list[Cell]:
    """Those with as many layers as any of their model; where that was not measured too."""
    most: dict[str, float] = {}
    for cell in cells:
        most[cell.model] = max(most.get(cell.model, 0), cell.layers.mean if cell.layers else 0)
    return [cell for cell in cells if not cell.layers or cell.layers.mean == most[cell.model]]


def main_metric(cells: Sequence[Cell]) -> str:
    """The first of a task; empty where nothing was measured."""
    return next((next(iter(cell.metrics)) for cell in cells if cell.metrics), "")


def front(points: Sequence[tuple[float, float]], smaller_is_better: bool = False) -> list[int]:
    """Which points no other beats, the cheapest first: whatever costs no more scores worse.

    Args:
        points: (cost, score); less cost is better, but a difference of 2 % is none.
        smaller_is_better: of the scores.
    """
    sign = 1 if smaller_is_better else -1
    found: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (sign * points[i][1], points[i][0])):  # the best score first
        if all(points[i][0] * ALIKE < points[j][0] for j in found):
            found.append(i)
    return found[::-1]


def front_cells(cells: Sequence[Cell], cost: Cost) -> list[Cell]:
    """The cells on the front of a picture, among those that can be compared."""
    metric = main_metric(cells)
    shown = comparable(measured(cells, cost), lambda cell: cell.metrics[metric])
    points = [(cost.value(cell), cell.metrics[metric].mean) for cell in shown]
    return [shown[i] for i in front(points, smaller_is_better(metric))]
