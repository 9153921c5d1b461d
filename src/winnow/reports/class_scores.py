"""Scores by class and confusions of the configurations of a task, from the class_report.json of their runs."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from winnow.errors import visible
from winnow.files.json_text import read_json
from winnow.reports.groups import Group
from winnow.reports.plot_style import INK, PAPER
from winnow.text import truncated

CLASS_REPORT = "class_report.json"  # in the folder of a run, of its first validation split
_NAMED, _NUMBERED = 24, 12  # classes of a picture whose labels and counts can still be read
_DARK = 0.55  # share from which white has more contrast with the field than ink
_SHADES = LinearSegmentedColormap.from_list("shares", [PAPER, "#0864ab", "#06305a"])


class ClassScores(NamedTuple):
    """Of one configuration: means over its seeds, and sums of counts.

    Args:
        f1: label -> F1, a fraction.
        support: label -> rows that have it.
        confusion: rows by true label (first axis) and predicted label; None where a row has several labels.
    """

    f1: dict[str, float]
    support: dict[str, int]
    confusion: np.ndarray | None

    @property
    def labels(self) -> list[str]:
        return list(self.f1)


def class_scores(group: Group) -> ClassScores | None:
    """None if no run of the group has a report that can be read."""
    found = []
    for run in group.runs:
        try:
            report = read_json(run.folder / CLASS_REPORT)
            f1 = {visible(str(each["label"])): float(each["f1"]) for each in report["classes"]}
            support = [int(each["support"]) for each in report["classes"]]
            confusion = np.array(report.get("confusion_matrix") or np.zeros((0, 0)), dtype=np.int64)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            continue  # an older run, another kind of task, or one whose folder has moved
        if confusion.shape in ((0, 0), (len(f1), len(f1))):
            found.append((f1, support, confusion))
    if not found or not found[0][0]:
        return None
    first, support, confusion = found[0]
    alike = [each for each in found if each[0].keys() == first.keys() and each[2].shape == confusion.shape]
    return ClassScores(
        {label: float(np.mean([f1[label] for f1, *_ in alike])) for label in first},
        dict(zip(first, support, strict=True)),
        np.sum([each for *_, each in alike], axis=0) if confusion.size else None,
    )


def hardest_first(scores: Sequence[ClassScores]) -> dict[str, int]:
    """The support of each label that has rows, in the order of their mean F1 over configurations, the lowest first."""
    support = {label: rows for each in scores for label, rows in each.support.items() if rows}
    means = {label: np.mean([each.f1[label] for each in scores if label in each.f1]) for label in support}
    return {label: support[label] for label in sorted(support, key=lambda label: means[label])}


def confusions(scores: ClassScores, most: int) -> Iterator[str]:
    """The most frequent confusions in words: the true label, the predicted one, and how many rows of how many."""
    assert scores.confusion is not None
    counts = scores.confusion * ~np.eye(len(scores.labels), dtype=bool)
    for place in np.argsort(-counts, axis=None, kind="stable")[:most]:
        true, predicted = divmod(int(place), len(scores.labels))
        if count := counts[true, predicted]:
            names = scores.labels[true], scores.labels[predicted]
            yield f"{names[0]} as {names[1]}: {count:,} of {scores.confusion[true].sum():,}"


def draw_confusion(figure: Figure, scores: ClassScores) -> None:
    """Fill a figure: a field for each pair of labels, as dark as its share of the rows with the true label."""
    assert scores.confusion is not None
    counts, size = scores.confusion, len(scores.labels)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    ax = figure.subplots()
    ax.imshow(np.sqrt(shares), cmap=_SHADES, vmin=0, vmax=1, interpolation="none")  # a root shows small shares too
    which = "" if size <= _NAMED else " (its number)"
    ax.set(xlabel=f"predicted label{which}", ylabel=f"true label{which}")
    ax.grid(visible=False)
    if size <= _NAMED:
        names = [truncated(label, 22) for label in scores.labels]
        ax.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 3 else 0)
        ax.set_yticks(range(size), names)
        ax.tick_params(labelsize=8 if size <= _NUMBERED else 6.5, length=0)
    if size <= _NUMBERED:
        for (true, predicted), count in np.ndenumerate(counts):
            colour = PAPER if np.sqrt(shares[true, predicted]) > _DARK else INK
            ax.text(predicted, true, f"{count:,}", ha="center", va="center", fontsize=8, color=colour)
