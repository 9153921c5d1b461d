"""What a model costs against what it scores: which plots a report has, and which groups are on their Pareto fronts."""

from collections.abc import Sequence
from dataclasses import dataclass

from winnow.reports.groups import Group, comparable, main_metric, mean, same_latency_conditions, sd, smaller_is_better

SAME_COST = 1.02  # costs with a smaller ratio count as equal: they differ by a task's head or by timing noise
_LEAST_REMAINING = 1e-4  # of the weights, on a logarithmic axis


@dataclass(frozen=True)
class Cost:
    """A quantity of which less is better."""

    name: str  # in a sentence
    axis: str  # with the unit
    figure: str  # as `Group.values` takes it
    unit: float = 1.0

    def values(self, group: Group) -> tuple[float, ...]:
        """The cost of each run in the unit of the axis; that of sparsity is the share of remaining weights."""
        values = group.values(self.figure)
        if self is SPARSITY:
            return tuple(max(1 - value, _LEAST_REMAINING) for value in values)
        return tuple(value / self.unit for value in values)


PARAMETERS = Cost("nonzero parameters", "nonzero parameters, millions", "nonzero_parameters", 1e6)
SPARSITY = Cost("encoder sparsity", "encoder sparsity, % (logarithmic in the remaining weights)", "sparsity")
SIZE = Cost("compressed size", "compressed size, MB", "compressed_bytes", 1e6)
LATENCY = Cost("latency", "latency of one input, ms", "latency", 1e-3)


class CostPlot:
    """The main metric of a task against a cost."""

    def __init__(self, groups: Sequence[Group], cost: Cost) -> None:
        self.cost = cost
        self.metric = main_metric(groups)
        self.teachers = [group.teacher for group in groups]
        measured = [group for group in groups if group.values(self.metric) and group.values(cost.figure)]
        self.groups = with_whole_layers(measured) if cost is SPARSITY else measured  # others cannot be compared by it
        candidates = comparable(self.groups, self.metric)
        points = [self.point(group) for group in candidates]
        self.front = [candidates[i] for i in pareto_front(points, smaller_is_better(self.metric))]

    def point(self, group: Group) -> tuple[float, float]:
        """Mean cost and score."""
        return mean(self.cost.values(group)), mean(group.values(self.metric))

    def deviation(self, group: Group) -> tuple[float, float]:
        """Standard deviations of cost and score, 0 for one seed."""
        return sd(self.cost.values(group)) or 0.0, sd(group.values(self.metric)) or 0.0


def cost_plots(groups: Sequence[Group]) -> tuple[list[CostPlot], list[str]]:
    """The plots of a task, the main one first, and sentences about the costs that have none."""
    layers = {mean(values) for group in groups if (values := group.values("layers"))}
    smaller = len(layers) > 1 or any(is_cut(group) for group in groups)
    plots: list[CostPlot] = []
    sentences = []
    for cost in (PARAMETERS, SPARSITY, SIZE, LATENCY) if smaller else (SPARSITY, SIZE, LATENCY):
        plot = CostPlot(groups, cost)
        reason = ""
        if len(plot.groups) < 2:
            reason = "it was measured for one configuration only" if plot.groups else "it was not measured"
        elif len({round(plot.point(group)[0], 4) for group in plot.groups}) == 1:
            reason = "it is the same everywhere"
        elif cost is LATENCY and not same_latency_conditions(groups):
            reason = "it was measured on different processors, numbers of threads or input lengths"
        if reason:
            sentences.append(f"There is no plot against {cost.name}: {reason}.")
        elif cost is LATENCY and _is_about_speed(plot, groups):
            plots.insert(0, plot)
        else:
            plots.append(plot)
    return plots, sentences


def _is_about_speed(plot: CostPlot, groups: Sequence[Group]) -> bool:
    """True if a recipe asked for a speedup and most groups have a latency."""
    return any(is_cut(group) for group in groups) and 2 * len(plot.groups) > len(groups)


def is_cut(group: Group) -> bool:
    """True if a recipe has removed heads and neurons for a speedup."""
    return bool(group.values("target_speedup"))


def with_whole_layers(groups: Sequence[Group]) -> list[Group]:
    """Those with as many layers as any group of their model, or an unknown number, and all heads and neurons."""
    layers = {group: mean(group.values("layers") or (0.0,)) for group in groups}
    most = {group.model: max(layers[g] for g in groups if g.model == group.model) for group in groups}
    return [group for group, number in layers.items() if number in (0.0, most[group.model]) and not is_cut(group)]


def pareto_front(points: Sequence[tuple[float, float]], smaller_is_better: bool = False) -> list[int]:
    """The indices of the points (cost, score) that no other beats, the cheapest first; 2 % less cost does not count."""
    sign = 1 if smaller_is_better else -1
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (sign * points[i][1], points[i][0])):  # the best score first
        if all(points[i][0] * SAME_COST < points[j][0] for j in front):
            front.append(i)
    return front[::-1]
