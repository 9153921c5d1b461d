"""Metrics of tagged sentences: of entities, also across the windows of a long sentence, and of words."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from winnow.data.flat_lists import flat_lists
from winnow.functional.counted_scores import counted_scores, scores_by_label
from winnow.functional.entities import OUTSIDE, count_entities, entities, is_entity_tag
from winnow.tasks.tag_columns import WORDS


class TagScores(Metric):
    """Entity F1, precision and recall, and word accuracy, over the full sentences of a split.

    Predictions are collected word by word, in any order and from any process, and scored at the end. A word without
    a prediction counts as O, or as the first tag if there is no O.

    Args:
        split: has the ids of the true tags of each sentence in ``labels``.
        labels: tag names in the order of their ids.
        names: metrics to compute: f1, precision, recall, accuracy.
    """

    full_state_update = False
    words: list[Tensor]  # indices of words in the split, (words,) for each batch
    tags: list[Tensor]  # their predicted tag ids

    def __init__(self, split: Dataset, labels: Sequence[str], names: Sequence[str]) -> None:
        super().__init__()
        self.split = split
        self.labels = np.array(labels)
        self.names = names
        self.outside = labels.index(OUTSIDE) if OUTSIDE in labels else 0
        self.true, lengths = flat_lists(split, "labels")  # (words of the split,)
        self.ends = np.cumsum(lengths)[:-1]
        self.add_state("words", default=[], dist_reduce_fx="cat")
        self.add_state("tags", default=[], dist_reduce_fx="cat")

    def update(self, words: Tensor, tags: Tensor) -> None:
        self.words.append(words)
        self.tags.append(tags)

    def compute(self) -> dict[str, Tensor]:
        predicted = self._predicted_ids()
        counts = count_entities(self._sentences(predicted), self._sentences(self.true))
        scores = {**counted_scores(*counts), "accuracy": float((predicted == self.true).mean())}
        return {name: torch.tensor(scores[name], dtype=torch.float64) for name in self.names}

    def predicted(self) -> list[list[str]]:
        """The predicted tag names of each sentence."""
        return self._sentences(self._predicted_ids())

    def class_report(self) -> dict[str, Any]:
        """Scores and counts of each type of entity; of each tag, where tags are of another kind."""
        correct, predicted, true = Counter[str](), Counter[str](), Counter[str]()
        for tags, true_tags in zip(self.predicted(), self._sentences(self.true), strict=True):
            found, wanted = set(self._found(tags)), set(self._found(true_tags))
            correct.update(kind for kind, *_ in found & wanted)
            predicted.update(kind for kind, *_ in found)
            true.update(kind for kind, *_ in wanted)
        kinds = sorted({*predicted, *true})
        return {"classes": scores_by_label((kind, correct[kind], predicted[kind], true[kind]) for kind in kinds)}

    def predictions(self) -> Iterator[dict[str, Any]]:
        """The words of each sentence with their predicted and true tags."""
        columns = zip(self.split[WORDS], self.predicted(), self._sentences(self.true), strict=True)
        for words, tags, true_tags in columns:
            yield {WORDS: words, "tags": tags, "true_tags": true_tags}

    def _found(self, tags: Sequence[str]) -> list[tuple[str, int, int]]:
        """Type, first and last word of what the tags of a sentence name."""
        return entities(tags) if all(map(is_entity_tag, self.labels)) else [(tag, i, i) for i, tag in enumerate(tags)]

    def _predicted_ids(self) -> NDArray[Any]:
        ids = np.full(len(self.true), self.outside)
        if len(self.words):
            ids[dim_zero_cat(self.words).cpu()] = dim_zero_cat(self.tags).cpu()
        return ids

    def _sentences(self, ids: NDArray[Any]) -> list[list[str]]:
        return [tags.tolist() for tags in np.split(self.labels[ids], self.ends)]
