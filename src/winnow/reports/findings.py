"""Sentences about the groups of a task that their figures support."""

from collections.abc import Iterator, Sequence

from winnow.reports.columns import columns, percent
from winnow.reports.cost_plots import SAME_COST, is_cut, with_whole_layers
from winnow.reports.groups import Group, comparable, main_metric, mean, sd, smaller_is_better

_MAX_LEVELS = 8  # sparsities of which the best group is named


def findings(groups: Sequence[Group]) -> list[str]:
    """What the main metric of a task shows; groups that lack seeds are not compared."""
    metric = main_metric(groups)
    if not any(group.values(metric) for group in groups):
        return [f"No run has a value of {metric}." if metric else "No run has a result yet."]
    return list(_Findings(groups).sentences())


class _Findings:
    def __init__(self, groups: Sequence[Group]) -> None:
        self.metric = columns(groups)[0]
        self.name = self.metric.name
        self.scored = [group for group in groups if group.values(self.name)]
        self.complete = comparable(self.scored, self.name)

    def sentences(self) -> Iterator[str]:
        for group in self.scored:
            if group.is_dense:
                values = group.values(self.name)
                seeds = f" over {len(values)} seeds" if len(values) > 1 else ""
                yield f"{group.label}: {self.name} {self.metric.text(values)}{seeds}."
        yield from self._by_sparsity()
        yield from self._fewer_layers()
        yield from self._teachers()
        if lacking := len(self.scored) - len(self.complete):
            yield f"Configurations that lack seeds are not compared: {lacking} of {len(self.scored)}."
        if max(len(group.values(self.name)) for group in self.scored) == 1:
            yield "There is one seed for each configuration, so small differences may be chance."

    def _by_sparsity(self) -> Iterator[str]:
        """The best group at each sparsity, and how much of the dense score it keeps."""
        whole = [group for group in self.complete if not is_cut(group)]  # others are not smaller by their zeros alone
        sparsities = {group: mean(values) for group in whole if (values := group.values("sparsity"))}
        levels: dict[str, list[Group]] = {}
        for group in sorted(sparsities, key=lambda group: sparsities[group]):
            levels.setdefault(percent(sparsities[group]), []).append(group)
        levels.pop("0", None)
        texts = []
        for level, alike in levels.items():
            best = max(alike, key=self._score)
            recovery = best.values("recovery")
            score = f"{self.name} {self.metric.number(mean(best.values(self.name)))}"
            kept = f"{100 * mean(recovery):.1f} % of dense" if recovery else score
            texts.append(f"{level} %: {kept} ({best.label})")
        if texts:
            which = (
                f"the {_MAX_LEVELS} highest encoder sparsities" if len(texts) > _MAX_LEVELS else "each encoder sparsity"
            )
            yield f"Best at {which}: {'; '.join(texts[-_MAX_LEVELS:])}."

    def _fewer_layers(self) -> Iterator[str]:
        """Groups with fewer layers against the best one with all layers and no more nonzero parameters."""
        sizes = {g: mean(g.values("nonzero_parameters")) for g in self.complete if g.values("nonzero_parameters")}
        known = [group for group in sizes if group.values("layers") and not is_cut(group)]
        whole = with_whole_layers(known)
        fewer = [group for group in known if group not in whole]
        pairs = []
        for group in fewer:
            alike = [rival for rival in whole if (rival.model, rival.teacher) == (group.model, group.teacher)]
            if rivals := [rival for rival in alike if sizes[rival] <= SAME_COST * sizes[group]]:
                pairs.append((group, max(rivals, key=self._score)))
        if pairs:
            beaten = sum(self._gain(*pair) > 0 for pair in pairs)
            too_small = len(fewer) - len(pairs)
            yield (
                f"Fewer layers: {beaten} of {len(pairs)} configurations score worse than a pruned one with all layers, "
                f"the same teacher and no more nonzero parameters{self._beyond_deviation(pairs)}"
                f"{f'; {too_small} more are too small to be compared' if too_small else ''}."
            )

    def _teachers(self) -> Iterator[str]:
        """Each group with a teacher against the same without one."""
        alone = {group.title: group for group in self.complete if group.teacher == "none"}
        for teacher in dict.fromkeys(group.teacher for group in self.complete if group.teacher != "none"):
            taught = [group for group in self.complete if group.teacher == teacher and group.title in alone]
            pairs = [(alone[group.title], group) for group in taught]
            if pairs:
                better = sorted(gain for pair in pairs if (gain := self._gain(*pair)) > 0)
                ends = dict.fromkeys(f"{gain:+.{self.metric.decimals}f}" for gain in (*better[:1], *better[-1:]))
                by = f", by {' to '.join(ends)} {self.name}" if better else ""
                yield (
                    f"Teacher {teacher}: {len(better)} of {len(pairs)} recipes score better with it than without"
                    f"{by}{self._beyond_deviation(pairs)}."
                )

    def _score(self, group: Group) -> float:
        """Of which more is better."""
        score = mean(group.values(self.name))
        return -score if smaller_is_better(self.name) else score

    def _gain(self, before: Group, after: Group) -> float:
        """By how much one scores better than another, as rounded in the table."""
        return round(self._score(after) - self._score(before), self.metric.decimals)

    def _beyond_deviation(self, pairs: Sequence[tuple[Group, Group]]) -> str:
        """How many differences exceed both standard deviations, if there are several seeds."""
        deviations = [max(sd(group.values(self.name)) or 0.0 for group in pair) for pair in pairs]
        larger = sum(abs(self._gain(*pair)) > most > 0 for pair, most in zip(pairs, deviations, strict=True))
        return (
            f"; the difference exceeds a standard deviation over seeds in {larger or 'none'}" if any(deviations) else ""
        )
