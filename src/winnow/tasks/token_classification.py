"""Tag every word of a sentence: named entities, chunks, parts of speech; CoNLL files, JSON lines, hub data."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch.nn.functional as F
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerBase

from winnow.config.task import UNLABELED
from winnow.data.batch import Batch, Columns, ModelOutputs
from winnow.data.cached_map import cached_map
from winnow.data.flat_lists import flat_lists
from winnow.data.unlabeled import LABELLED
from winnow.functional.distillation_loss import distillation_loss
from winnow.functional.entities import split_tag
from winnow.tasks.metrics import only_metric
from winnow.tasks.tag_columns import WORDS, TagColumns, check_tag_set, tag_set
from winnow.tasks.tag_predictor import TagPredictor
from winnow.tasks.tag_scores import TagScores
from winnow.tasks.task import Task, check_metric_names, label_settings
from winnow.tasks.word_windows import IGNORED, cut, first_and_later_tokens, word_windows

_METRICS = ("f1", "precision", "recall", "accuracy")  # the accuracy counts words, the others count entities


class TokenClassification(TagPredictor, Task):
    """One tag for each word of a sentence that is split into words.

    Args:
        settings: as in `TagPredictor`.
    """

    auto_model = AutoModelForTokenClassification
    outputs_per_token = True
    tokenizer_options: Mapping[str, Any] = {"add_prefix_space": True}  # RoBERTa: each word follows a blank

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        check_metric_names(self.metric_names, _METRICS, "a token classification")
        self.columns = TagColumns(self.text_columns[0], self.label_column, settings["data"]["drop_empty"])

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        unlabeled = splits.get(UNLABELED)
        read = {name: self.columns.read(split, name) for name, split in splits.items() if name != UNLABELED}
        splits = self.labelled_splits(DatasetDict(read))
        found = {name: self.columns.occurrences(split, name) for name, split in splits.items()}
        self.labels = tag_set(splits["train"].features[self.label_column], found)
        check_tag_set(self.labels, splits, found, self.label_column, self.metric_names)
        prepared = DatasetDict({name: self.columns.with_tag_ids(split, self.labels) for name, split in splits.items()})
        if unlabeled is not None:
            prepared[UNLABELED] = self.columns.with_any_tag_ids(unlabeled)
        return prepared

    def has_labels(self, split: Dataset) -> bool:
        return super().has_labels(split) and any(tag for _, tags in self.columns.sentences(split) for tag in tags)

    def head_settings(self) -> dict[str, Any]:
        return label_settings(self.labels)

    def encode(self, split: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool) -> Dataset:
        """One row for each window: the inputs, ``labels`` and, for evaluation, ``word``.

        ``word`` is the index of a word in the split at its scored token. Windows without any label are left out: their
        words have no tokens (control characters), or they hold only the end of a word.
        """
        max_length = self._window_length(tokenizer)
        words_before = np.cumsum([0, *flat_lists(split, "labels")[1]])  # before each sentence of the split
        later_tags = self._tags_of_later_tokens()

        def features(rows: Columns, indices: list[int]) -> dict[str, Any]:
            encoded, sentence, words = word_windows(rows[WORDS], tokenizer, max_length)
            first, later = first_and_later_tokens(words)
            tags = np.concatenate(rows["labels"])[words]
            labels = np.select([first, later], [tags, later_tags[tags]], IGNORED)
            lengths = [len(ids) for ids in encoded["input_ids"]]
            columns = {**encoded, "labels": cut(labels, lengths), "length": lengths}
            if LABELLED in rows:
                columns[LABELLED] = [rows[LABELLED][i] for i in sentence]
            if not training:
                columns["word"] = cut(np.where(first, words + words_before[indices[0]], IGNORED), lengths)
            kept = [i for i, window in enumerate(columns["labels"]) if (window != IGNORED).any()]
            return {name: [values[i] for i in kept] for name, values in columns.items()}

        return cached_map(split, features, batched=True, with_indices=True, remove_columns=split.column_names)

    def loss(self, outputs: ModelOutputs, batch: Batch) -> Tensor:
        logits = outputs.logits.float()  # (batch, tokens, tags)
        return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED)

    def distillation_loss(
        self, student: ModelOutputs, teacher: ModelOutputs, batch: Batch, *, temperature: float
    ) -> Tensor:
        mask = batch["attention_mask"].bool()
        return distillation_loss(student.logits, teacher.logits, temperature=temperature, mask=mask)

    def metrics(self, split: Dataset) -> dict[str, Metric]:
        return {"tags": TagScores(split, self.labels, self.metric_names)}

    def update_metrics(self, metrics: MetricCollection, outputs: ModelOutputs, batch: Batch) -> None:
        scored = batch["word"] != IGNORED
        metrics.update(batch["word"][scored], outputs.logits.argmax(dim=-1)[scored])

    def prediction_files(self, metrics: MetricCollection) -> dict[str, Any]:
        tags = only_metric(metrics, TagScores)
        return {"predictions.json": tags.predicted(), "class_report.json": tags.class_report()}

    def predictions(self, metrics: MetricCollection) -> Iterator[dict[str, Any]]:
        yield from only_metric(metrics, TagScores).predictions()

    def texts(self, split: Dataset) -> list[str]:
        return [" ".join(words) for words in split[:100][WORDS]]

    def _tags_of_later_tokens(self) -> NDArray[np.int64]:
        """For each tag of a word the label of the tokens after its first token."""
        if not self.label_all_tokens:
            return np.full(len(self.labels), IGNORED)
        ids = {tag: i for i, tag in enumerate(self.labels)}
        return np.array([ids.get("I" + tag[1:], i) if split_tag(tag)[0] == "B" else i for tag, i in ids.items()])
