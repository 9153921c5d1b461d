"""Tag every word of a sentence: named entities, chunks, parts of speech; CoNLL files, JSON lines, hub data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch.nn.functional as F
from datasets import ClassLabel, Dataset, DatasetDict, Features, LargeList, List, Value
from torch import Tensor
from torchmetrics import Metric
from transformers import AutoModelForTokenClassification

from winnow.data.cached_map import cached_map
from winnow.data.flat_lists import flat_lists
from winnow.errors import UserError, nearest
from winnow.functional.distillation_loss import distillation_loss
from winnow.functional.entities import OUTSIDE, entities, is_entity_tag, split_tag
from winnow.tasks.tag_scores import TagScores
from winnow.tasks.task import DIGITS, Task, check_metric_names
from winnow.tasks.words import first_and_rest, windows_of_words, words_of

_METRICS = ("f1", "precision", "recall", "accuracy")  # of entities but for the accuracy, which is of words

_IGNORED = -100  # the label of a token without a tag, as everywhere in torch and transformers
_NO_TAG = (None, "", -1, _IGNORED)  # how data sets spell a tag that is not there


class TokenClassification(Task):
    """One tag for each word of a sentence that is split into words.

    Args:
        name: of the task, for folders and tables.
        metrics: names of the metrics; the first chooses the best model.
        max_length: tokens the model sees at once; a longer sentence is cut into several windows.
        label_all_tokens: train on every sub-word of a word, not on the first alone, which is the one that is scored.
        data: the ``task.data`` section; the columns of words and tags are read here.
    """

    auto_model = AutoModelForTokenClassification
    outputs_per_token = True
    padding: Mapping[str, int] = {"labels": _IGNORED, "word": _IGNORED}
    word_lists = True
    ranks = False
    tokenizer_options: Mapping[str, Any] = {"add_prefix_space": True}  # as if a blank came before each word (RoBERTa)

    def __init__(
        self, *, name: str, metrics: Sequence[str], max_length: int, label_all_tokens: bool, data: Mapping[str, Any]
    ) -> None:
        super().__init__(name=name, metrics=metrics, data=data)
        check_metric_names(metrics, _METRICS, "a token classification")
        if len(self.text_columns) != 1:
            raise UserError(f"task.data.text_columns must be one column of words, got {self.text_columns}.")
        self.word_column = self.text_columns[0]
        self.max_length = max_length
        self.label_all_tokens = label_all_tokens
        self.drop_empty: bool = data["drop_empty"]

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        for name, split in splits.items():
            self._check_lists(split, name)
        if "test" in splits and self._is_unlabelled(splits["test"]):
            splits = DatasetDict({name: split for name, split in splits.items() if name != "test"})
        found = {name: self._tags_found(split, name) for name, split in splits.items()}
        self.labels = self._tag_set(splits["train"], found)
        self._check_tag_set(found)
        return DatasetDict({name: self._with_tag_ids(split) for name, split in splits.items()})

    def head_settings(self) -> dict[str, Any]:
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: i for i, label in enumerate(self.labels)},
        }

    def encode(self, split: Dataset, tokenizer: Any, *, training: bool) -> Dataset:
        """A row a window: the inputs, ``labels``, and for evaluation ``word``, the place in the split of the word that
        a token is scored for. Words without a token, such as control characters, and windows of none but them or of
        the rest of a word have no label and are left out.
        """
        max_length = self._window_length(tokenizer)
        words_before = np.cumsum([0, *flat_lists(split, "labels")[1]])  # of each sentence in the split
        column, continued = self.word_column, self._continued_tags()

        def features(rows: Mapping[str, list], indices: list[int]) -> dict[str, Any]:
            encoded, _, places = windows_of_words(rows[column], tokenizer, max_length)
            first, rest = first_and_rest(places)
            tags = np.concatenate(rows["labels"])[places]
            labels = np.select([first, rest], [tags, continued[tags]], _IGNORED)
            lengths = [len(ids) for ids in encoded["input_ids"]]
            columns = {**encoded, "labels": _cut(labels, lengths), "length": lengths}
            if not training:
                earlier = words_before[indices[0]]  # than those of these rows
                columns["word"] = _cut(np.where(first, places + earlier, _IGNORED), lengths)
            kept = [i for i, window in enumerate(columns["labels"]) if (window != _IGNORED).any()]
            return {name: [values[i] for i in kept] for name, values in columns.items()}

        return cached_map(split, features, batched=True, with_indices=True, remove_columns=split.column_names)

    def loss(self, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        logits = outputs.logits.float()  # (batch, tokens, tags)
        return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=_IGNORED)

    def distillation_loss(
        self, student: Any, teacher: Any, batch: Mapping[str, Tensor], *, temperature: float
    ) -> Tensor:
        mask = batch["attention_mask"].bool()
        return distillation_loss(student.logits, teacher.logits, temperature=temperature, mask=mask)

    def metrics(self, split: Dataset) -> dict[str, Metric]:
        return {"tags": TagScores(split, self.labels, self.metric_names)}

    def update_metrics(self, metrics: Any, outputs: Any, batch: Mapping[str, Tensor]) -> None:
        scored = batch["word"] != _IGNORED
        metrics.update(batch["word"][scored], outputs.logits.argmax(dim=-1)[scored])

    def predictions(self, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        return {"predictions.json": metrics["tags"].predicted()}

    def questions(self, rows: Sequence[Mapping[str, Any]], tokenizer: Any) -> Mapping[str, Sequence]:
        sentences = [words_of(row["text"], self.split_punctuation)[0] for row in rows]
        encoded, sentence, places = windows_of_words(sentences, tokenizer, self._window_length(tokenizer))
        first, _ = first_and_rest(places)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        words_before = np.cumsum([0, *map(len, sentences)])[sentence]
        word = np.where(first, places - np.repeat(words_before, lengths), _IGNORED)  # its place in the sentence
        return {**encoded, "word": _cut(word, lengths), "example": sentence, "length": lengths}

    def readings(self, outputs: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits = outputs.logits.double()  # (batch, tokens, tags)
        tag = logits.argmax(dim=-1)
        probability = logits.softmax(dim=-1).gather(-1, tag.unsqueeze(-1)).squeeze(-1)
        return {"word": batch["word"], "tag": tag, "probability": probability}

    def answer(
        self, row: Mapping[str, Any], windows: Sequence[Mapping[str, np.ndarray]], top_k: int | None
    ) -> dict[str, Any]:
        words, places = words_of(row["text"], self.split_punctuation)
        tags, scores = [OUTSIDE if OUTSIDE in self.labels else self.labels[0]] * len(words), [0.0] * len(words)
        for window in windows:
            for i in np.flatnonzero(window["word"] != _IGNORED):
                tags[window["word"][i]] = self.labels[window["tag"][i]]
                scores[window["word"][i]] = float(window["probability"][i])

        def said(kind: str, first: int, last: int) -> dict[str, Any]:
            start, end = places[first][0], places[last][1]
            text = row["text"][start:end]
            score = sum(scores[first : last + 1]) / (last + 1 - first)
            return {
                "type": kind,
                "text": text if isinstance(text, str) else " ".join(text),
                "start": start,
                "end": end,
                "score": round(score, DIGITS),
            }

        if all(map(is_entity_tag, self.labels)):
            return {**row, "entities": [said(*entity) for entity in entities(tags)]}
        return {**row, "tags": [said(tag, i, i) for i, tag in enumerate(tags)]}

    def texts(self, split: Dataset) -> list[str]:
        return [" ".join(words) for words in split[:100][self.word_column]]

    def _check_lists(self, split: Dataset, name: str) -> None:
        for column in (self.word_column, self.label_column):
            feature = split.features.get(column)  # a test split may lack its tags
            if feature is not None and not isinstance(feature, (List, LargeList)):
                raise UserError(
                    f"column '{column}' of the {name} split holds no lists, but a row must be a sentence "
                    'with a list of words and a list of tags: JSON lines such as {"tokens": ["in", "Rome"], '
                    '"ner_tags": ["O", "B-place"]}, Parquet, or .conll files with a word and its tag a line.'
                )

    def _is_unlabelled(self, split: Dataset) -> bool:
        if self.label_column not in split.column_names:
            return True
        return not any(tag for row in self._rows(split) for tag in row[1])

    def _rows(self, split: Dataset) -> Iterator[tuple[list[Any], list[str]]]:
        """The words of each sentence, and the names of their tags."""
        columns = [self.word_column, self.label_column]
        read = _tag_reader(split.features[self.label_column])
        for rows in split.select_columns(columns).iter(1000):
            for words, tags in zip(*(rows[column] for column in columns), strict=True):
                yield words or [], read(tags)

    def _tags_found(self, split: Dataset, name: str) -> dict[str, int]:
        """The first row of each tag; refused are sentences without words, and words without a tag."""
        found: dict[str, int] = {}
        for row, (words, tags) in enumerate(self._rows(split), start=1):
            if not words and not self.drop_empty:
                raise UserError(
                    f"the {name} split has a sentence without words, row {row}; fill it, or leave such rows out with "
                    "task.data.drop_empty=true."
                )
            if len(words) != len(tags):
                raise UserError(
                    f"the {name} split has {len(words)} words but {len(tags)} tags in row {row}; "
                    f"each word of '{self.word_column}' needs one tag in '{self.label_column}'."
                )
            if "" in tags:
                place = tags.index("")
                raise UserError(
                    f"the {name} split has no tag for word {place + 1}, '{words[place]}', of row {row}; "
                    f"every word needs one, {OUTSIDE} where it is in no entity."
                )
            for tag in tags:
                found.setdefault(tag, row)
        if not found:
            raise UserError(f"the {name} split has no sentence with words.")
        return found

    def _tag_set(self, train: Dataset, found: Mapping[str, Mapping[str, int]]) -> list[str]:
        """The tags of the training data, and of the types that it knows those that only another split has."""
        feature = train.features[self.label_column].feature
        known = feature.names if isinstance(feature, ClassLabel) else sorted(found["train"], key=_tag_order)
        types = {split_tag(tag)[1] for tag in known if is_entity_tag(tag) and tag != OUTSIDE}
        others = set(chain(*found.values())) - set(known)
        added = [tag for tag in others if is_entity_tag(tag) and split_tag(tag)[1] in types]
        if isinstance(feature, ClassLabel):
            return [*known, *sorted(added, key=_tag_order)]
        return sorted([*known, *added], key=_tag_order)

    def _check_tag_set(self, found: Mapping[str, Mapping[str, int]]) -> None:
        if len(self.labels) < 2:
            raise UserError(
                f"task.data.label_column: '{self.label_column}' has one tag only, '{self.labels[0]}': nothing to learn."
            )
        of_entities = [metric for metric in self.metric_names if metric != "accuracy"]
        strange = [tag for tag in self.labels if not is_entity_tag(tag)]
        if of_entities and strange:
            raise UserError(
                f"task.metrics: {of_entities[0]} counts entities, but '{strange[0]}' in column '{self.label_column}' "
                "is no tag such as B-person, I-person and O; write such names there, or set task.metrics=[accuracy]."
            )
        for name, rows in found.items():
            unknown = [tag for tag in rows if tag not in self.labels]
            if unknown:
                tag = min(unknown, key=lambda tag: rows[tag])
                raise UserError(
                    f"the {name} split has the tag '{tag}' (row {rows[tag]}), which the training split has not."
                    f"{nearest(tag, self.labels)}"
                )

    def _with_tag_ids(self, split: Dataset) -> Dataset:
        """The words as texts and ``labels``, the ids of their tags; sentences without words are left out."""
        words, label_column = self.word_column, self.label_column
        read = _tag_reader(split.features[label_column])
        ids = {tag: i for i, tag in enumerate(self.labels)}

        def texts_and_ids(rows: Mapping[str, list]) -> dict[str, list]:
            filled = [i for i, sentence in enumerate(rows[words]) if sentence]
            return {
                words: [["" if word is None else str(word) for word in rows[words][i]] for i in filled],
                "labels": [[ids[tag] for tag in read(rows[label_column][i])] for i in filled],
            }

        return cached_map(
            split,
            texts_and_ids,
            batched=True,
            remove_columns=split.column_names,
            features=Features({words: List(Value("string")), "labels": List(Value("int64"))}),
        )

    def _window_length(self, tokenizer: Any) -> int:
        """Tokens that the model sees at once."""
        if not tokenizer.is_fast:
            raise UserError(f"the tokenizer {type(tokenizer).__name__} cannot say to which word a token belongs.")
        length: int = min(self.max_length, tokenizer.model_max_length)
        special = tokenizer.num_special_tokens_to_add()
        if length <= special:
            raise UserError(f"task.max_length={length} leaves no room for words beside {special} special tokens.")
        return length

    def _continued_tags(self) -> np.ndarray:
        """For each tag the label of the sub-words of its word that follow the first."""
        if not self.label_all_tokens:
            return np.full(len(self.labels), _IGNORED)
        ids = {tag: i for i, tag in enumerate(self.labels)}
        return np.array([ids.get("I" + tag[1:], i) if split_tag(tag)[0] == "B" else i for tag, i in ids.items()])


def _tag_reader(feature: Any) -> Callable[[Sequence[Any] | None], list[str]]:
    """From the tags of a sentence to their names; numbers without names are their own; '' where there is none."""
    inner = feature.feature
    names = dict(enumerate(inner.names)) if isinstance(inner, ClassLabel) else {}

    def read(tags: Sequence[Any] | None) -> list[str]:
        return ["" if tag in _NO_TAG else names.get(tag, str(tag).strip()) for tag in tags or ()]

    return read


def _cut(values: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    return np.split(values, np.cumsum(lengths)[:-1])


def _tag_order(tag: str) -> tuple[bool, int, str, str]:
    """O first, numbers by value, B-X and I-X side by side."""
    prefix, kind = split_tag(tag)
    return tag != OUTSIDE, int(tag) if tag.isdecimal() else -1, kind, prefix
