"""A number for each text: regression."""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from datasets import Dataset, Value
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.regression import MeanSquaredError, PearsonCorrCoef, SpearmanCorrCoef

from winnow.functional.distillation_loss import regression_distillation_loss
from winnow.tasks.label_kind import LabelError, LabelKind, distinct
from winnow.tasks.predictor import SCORE_DIGITS

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LARGEST = 3e38  # of float32


class NumericLabel(LabelKind):
    """A number for each text."""

    description = "a regression"
    problem_type = "regression"
    metrics: Mapping[str, Callable[[int], Metric]] = {
        "pearson": lambda n: PearsonCorrCoef(),
        "spearmanr": lambda n: SpearmanCorrCoef(),
        "mean_squared_error": lambda n: MeanSquaredError(),
    }

    def names(self, train: Dataset) -> list[str]:
        return []

    def check_split(self, split: Dataset, name: str, names: Sequence[str]) -> None:
        values = distinct(split, self.column)
        if len(values) == 1 and len(split) > 1:
            print(
                f"note: all labels of the {name} split are {next(iter(values))}, so a correlation with them has no "
                "value.",
                file=sys.stderr,
            )

    def targets(self, cells: Sequence[Any], feature: Any, names: Sequence[str]) -> list[Any]:
        return [_number(value, cell) for cell, value in enumerate(cells)]

    def target_feature(self, names: Sequence[str]) -> Any:
        return Value("float32")

    def loss(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """Numbers have no weights and are not smoothed."""
        return F.mse_loss(logits.squeeze(-1), targets.float())

    def distillation_loss(self, student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
        return regression_distillation_loss(student, teacher)

    def truth(self, target: Any, names: Sequence[str]) -> dict[str, Any]:
        return {"true_value": round(target, SCORE_DIGITS)}


def _number(value: Any, cell: int) -> float:
    text = str(value).strip()
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not abs(number) <= _LARGEST:
        is_endless = math.isinf(number) or text.lower().lstrip("+-") in ("inf", "infinity", "nan")
        reason = "a finite number" if is_endless else "a number of float32" if math.isfinite(number) else "a number"
        raise LabelError(
            cell,
            f"the label {value!r} is not {reason} such as 3, 3.5 or 1e-3; correct it, or set task.regression=false for "
            "classes.",
        )
    return number
