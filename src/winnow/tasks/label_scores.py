"""Metrics of classified or scored texts: the windows of a text are collected, and its label is scored at the end."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from winnow.functional.counted_scores import scores_by_label
from winnow.tasks.label_kind import LabelKind, targets_of
from winnow.tasks.label_predictor import LabelPredictor
from winnow.tasks.predictor import EVEN

_STATES = ("example", "score", "truncated")
_LISTED = 10  # labels whose scores a line of predictions has
_MAX_CONFUSED = 1000  # classes of a confusion matrix
_STEPS = 100  # between the thresholds that are tried


class LabelScores(Metric):
    """Metrics over the texts of one split, its predictions, and the scores of each label.

    Args:
        split: a prepared split, with the targets in ``labels``.
        predictor: makes the predictions; its metrics are computed.
        kind: of the labels.
    """

    full_state_update = False

    def __init__(self, split: Dataset, predictor: LabelPredictor, kind: LabelKind) -> None:
        super().__init__()
        self.split = split
        self.predictor = predictor
        self.kind = kind
        for state in _STATES:
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, **windows: Tensor) -> None:
        """Collect some windows, as `LabelPredictor.window_predictions` returns them."""
        for state in _STATES:
            getattr(self, state).append(windows[state])

    def compute(self) -> dict[str, Tensor]:
        predicted, true = self._predicted_and_true()
        return {name: self._value(name, predicted, true) for name in self.predictor.metric_names}

    def best_threshold(self) -> float:
        """The threshold with the largest first metric, of equal ones the nearest to one half.

        One half is tried, and evenly spaced ones between the lowest and the highest score that is compared with it.
        """
        rows, scores, _ = self._texts()
        compared, true = scores[:, 1] if self.kind.exclusive else scores, targets_of(self.split)[rows]
        steps: list[float] = np.linspace(compared.min(), compared.max(), _STEPS + 1).tolist()

        def value(threshold: float) -> float:
            predicted = torch.from_numpy(self.predictor.decided(scores, threshold))
            return float(self._value(self.predictor.metric_names[0], predicted, true))

        return max(sorted([EVEN, *steps[1:-1]], key=lambda threshold: abs(threshold - EVEN)), key=value)

    def predictions(self) -> Iterator[dict[str, Any]]:
        """The texts of each row that was scored, its prediction and its true label, in the order of the split."""
        rows, scores, truncated = self._texts()
        labels = self.predictor.labels
        for row, score, is_cut in zip(self.split.select(rows), scores, truncated, strict=True):
            target = row.pop("labels")
            yield {
                **row,
                **self.predictor.prediction(score, min(_LISTED, len(labels))),
                **self.kind.truth(target, labels),
                **({"truncated": True} if is_cut else {}),
            }

    def class_report(self) -> dict[str, Any]:
        """Precision, recall, F1 and counts of each label; where labels exclude one another, also the confusion matrix.

        A row of the matrix is a true label, a column a predicted one, in the order of the labels.
        """
        predicted, true = self._predicted_and_true()
        labels, count = self.predictor.labels, len(self.predictor.labels)
        if self.kind.exclusive:
            found = [ids.bincount(minlength=count) for ids in (true[predicted == true], predicted, true)]
        else:
            found = [applies.sum(dim=0).long() for applies in (predicted * true, predicted, true)]
        counts = zip(labels, *(numbers.tolist() for numbers in found), strict=True)
        report: dict[str, Any] = {"classes": scores_by_label(counts)}
        if self.kind.exclusive and count <= _MAX_CONFUSED:
            pairs = (true * count + predicted).bincount(minlength=count * count)
            report["confusion_matrix"] = pairs.view(count, count).tolist()
        return report

    def _value(self, name: str, predicted: Tensor, true: Tensor) -> Tensor:
        # called, since computing would gather the rows of all processes once more
        value: Tensor = self.kind.metrics[name](len(self.predictor.labels))(predicted, true)
        return value

    def _predicted_and_true(self) -> tuple[Tensor, Tensor]:
        """Predictions and targets of the rows that were scored, in the same form."""
        rows, scores, _ = self._texts()
        decided = self.predictor.decided(scores, self.predictor.threshold)
        return torch.from_numpy(decided), targets_of(self.split)[rows]

    def _texts(self) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.bool_]]:
        """The row of each text in the split, ascending; its scores, joined over its windows; whether it was cut."""
        states = {state: dim_zero_cat(getattr(self, state)).cpu().numpy() for state in _STATES}
        order = np.argsort(states["example"], kind="stable")
        rows, begins = np.unique(states["example"][order], return_index=True)
        return rows, self.predictor.joined(states["score"][order], begins), states["truncated"][order][begins]
