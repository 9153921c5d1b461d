"""Collections of metrics: their order, the suffixes of further splits, their values in JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

M = TypeVar("M", bound=Metric)


def metric_collection(metrics: Mapping[str, Metric], suffix: str = "") -> MetricCollection:
    """A collection in the given order, the main metric first; torchmetrics would sort a whole mapping by name."""
    collection = MetricCollection({}, postfix=suffix)
    for name, metric in metrics.items():
        collection.add_metrics({name: metric})
    return collection


def only_metric(metrics: MetricCollection, kind: type[M]) -> M:
    """The single metric of a collection."""
    (metric,) = metrics.values()
    assert isinstance(metric, kind)
    return metric


def metric_suffixes(validation_names: Sequence[str]) -> list[str]:
    """'' for the first split; for others the end of their name: validation_mismatched -> '_mismatched'."""
    return ["" if i == 0 else "_" + name.split("_", 1)[-1] for i, name in enumerate(validation_names)]


def json_number(value: Tensor) -> float | None:
    """A metric value for JSON; float32 is rounded to 7 decimal places, its precision.

    None where a metric has no finite value, as the correlation with labels that are all equal, or a score of questions
    without an answer where there are none.
    """
    number = float(value)
    if not math.isfinite(number):
        return None
    return round(number, 7) if value.dtype == torch.float32 else number
