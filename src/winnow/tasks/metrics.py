"""Collections of metrics: their order, the suffixes of further splits, their values as JSON shows them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection


def metric_collection(metrics: Mapping[str, Metric], suffix: str = "") -> MetricCollection:
    """In their order, the main one first; given all at once, torchmetrics would sort them by name."""
    collection = MetricCollection({}, postfix=suffix)
    for name, metric in metrics.items():
        collection.add_metrics({name: metric})
    return collection


def metric_suffixes(validation_names: Sequence[str]) -> list[str]:
    """'' for the first split; for another what its name adds: validation_mismatched -> '_mismatched'."""
    return ["" if i == 0 else "_" + name.split("_", 1)[-1] for i, name in enumerate(validation_names)]


def json_number(value: Tensor) -> float:
    """A metric as JSON should show it: float32 has seven json_number and no more."""
    return round(float(value), 7) if value.dtype == torch.float32 else float(value)
