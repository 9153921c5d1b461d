"""Read and check the words and tags of tagged sentences, and choose the set of tags."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from datasets import ClassLabel, Dataset, Features, List, Value, concatenate_datasets

from winnow.config.task import UNLABELED
from winnow.data.batch import Columns
from winnow.data.cached_map import cached_map
from winnow.data.places import place_of
from winnow.errors import UserError
from winnow.functional.entities import OUTSIDE, is_entity_tag, split_tag
from winnow.functional.printed import as_printed_list
from winnow.tasks.label_kind import LabelError, is_list, mapped_column, unknown_labels
from winnow.tasks.word_windows import IGNORED

WORDS = "words"  # the column of the words of a prepared split
_WORDS_AND_IDS = Features({WORDS: List(Value("string")), "labels": List(Value("int64"))})
_NO_TAG = (None, "", -1, IGNORED)  # a missing tag in data sets


@dataclass
class Occurrences:
    """Where a tag occurs: its first row, counted from 0, and the number of its words."""

    first_row: int
    count: int = 0


TagsOf = Mapping[str, Occurrences]  # of a split


@dataclass(frozen=True)
class TagColumns:
    """The two columns of a split of tagged sentences.

    Args:
        words: column with the words of each sentence.
        tags: column with one tag for each word.
        drop_empty: leave sentences without words out; False raises an error for them.
    """

    words: str
    tags: str
    drop_empty: bool

    def read(self, split: Dataset, name: str) -> Dataset:
        """The split with lists in both columns; the column of tags may be absent.

        Raises:
            UserError: for a column that holds no lists.
        """
        for column in (self.words, self.tags):
            feature = split.features.get(column)
            if feature is not None and not is_list(feature):
                split = self._with_lists(split, column, name)
        return split

    def _with_lists(self, split: Dataset, column: str, name: str) -> Dataset:
        """The split with the printed lists of a column, such as ``['in', 'Rome']``, as lists."""

        def lists(cells: Sequence[Any]) -> list[Any]:
            return [_printed(text, cell) for cell, text in enumerate(cells)]

        first = next((text for text in split[:100][column] if text is not None), None)
        if not isinstance(first, str) or as_printed_list(first) is None:
            raise UserError(
                f"column '{column}' of the {name} split holds no lists, but a row must be a sentence "
                'with a list of words and a list of tags: JSON lines such as {"tokens": ["in", "Rome"], '
                '"ner_tags": ["O", "B-place"]}, Parquet, or .conll files with a word and its tag on each line.'
            )
        read = mapped_column(split, name, column, lists, column, List(Value("string")))
        return concatenate_datasets([split.remove_columns([column]), read], axis=1)

    def sentences(self, split: Dataset) -> Iterator[tuple[list[Any], list[str]]]:
        """The words of each sentence and the names of their tags."""
        columns = [self.words, self.tags]
        names_of = _tag_names(split.features[self.tags])
        for rows in split.select_columns(columns).iter(1000):
            for words, tags in zip(*(rows[column] for column in columns), strict=True):
                yield words or [], names_of(tags)

    def occurrences(self, split: Dataset, name: str) -> TagsOf:
        """Check every sentence and count each tag."""
        found: dict[str, Occurrences] = {}
        for row, (words, tags) in enumerate(self.sentences(split)):
            self._check_sentence(words, tags, partial(place_of, split, name, row))
            for tag in tags:
                found.setdefault(tag, Occurrences(row)).count += 1
        if not found:
            raise UserError(f"the {name} split has no sentence with words; name other files or columns.")
        return found

    def _check_sentence(self, words: Sequence[Any], tags: Sequence[str], where: Callable[[], str]) -> None:
        if not words and not self.drop_empty:
            raise UserError(
                f"{where()}: the sentence has no words; fill it, or leave such rows out with task.data.drop_empty=true."
            )
        if len(words) != len(tags):
            raise UserError(
                f"{where()}: there are {len(words)} words but {len(tags)} tags; each word of '{self.words}' needs one "
                f"tag in '{self.tags}'."
            )
        if None in words:
            raise UserError(f"{where()}: word {words.index(None) + 1} is missing; fill it or leave the row out.")
        if "" in tags:
            index = tags.index("")
            raise UserError(
                f"{where()}: word {index + 1}, '{words[index]}', has no tag; every word needs one, {OUTSIDE} if it "
                "belongs to no entity."
            )

    def with_tag_ids(self, split: Dataset, labels: Sequence[str]) -> Dataset:
        """``words``, as strings, and ``labels``, the ids of their tags; sentences without words are left out."""
        word_column, tag_column = self.words, self.tags
        names_of = _tag_names(split.features[tag_column])
        ids = {tag: i for i, tag in enumerate(labels)}

        def words_and_ids(rows: Columns) -> dict[str, list[Any]]:
            kept = [i for i, sentence in enumerate(rows[word_column]) if sentence]
            return {
                WORDS: [[str(word) for word in rows[word_column][i]] for i in kept],
                "labels": [[ids[tag] for tag in names_of(rows[tag_column][i])] for i in kept],
            }

        return cached_map(
            split,
            words_and_ids,
            batched=True,
            remove_columns=split.column_names,
            features=_WORDS_AND_IDS,
        )

    def with_any_tag_ids(self, split: Dataset) -> Dataset:
        """``words`` of the split without labels, and ``labels``, all 0; a text is split at its blanks."""
        if not is_list(split.features[self.words]):
            lists = mapped_column(split, UNLABELED, self.words, _word_lists, self.words, List(Value("string")))
            split = concatenate_datasets([split.remove_columns([self.words]), lists], axis=1)
        for row, sentence in enumerate(split.select_columns([self.words])[self.words]):
            words = sentence or []
            self._check_sentence(words, [OUTSIDE] * len(words), partial(place_of, split, UNLABELED, row))
        word_column = self.words

        def words_and_zeros(rows: Columns) -> dict[str, list[Any]]:
            sentences = [[str(word) for word in words] for words in rows[word_column] if words]
            return {WORDS: sentences, "labels": [[0] * len(words) for words in sentences]}

        return cached_map(
            split, words_and_zeros, batched=True, remove_columns=split.column_names, features=_WORDS_AND_IDS
        )


def tag_set(tags_feature: Any, found: Mapping[str, TagsOf]) -> list[str]:
    """The tags of the training split, and tags of other splits whose entity type the training split has.

    Args:
        tags_feature: type of the training split's column of tags.
        found: split -> its tags.
    """
    feature = tags_feature.feature
    known = feature.names if isinstance(feature, ClassLabel) else sorted(found["train"], key=_tag_order)
    types = {split_tag(tag)[1] for tag in known if is_entity_tag(tag) and tag != OUTSIDE}
    others = set(chain(*found.values())) - set(known)
    added = [tag for tag in others if is_entity_tag(tag) and split_tag(tag)[1] in types]
    if isinstance(feature, ClassLabel):
        return [*known, *sorted(added, key=_tag_order)]
    return sorted([*known, *added], key=_tag_order)


def check_tag_set(
    labels: Sequence[str],
    splits: Mapping[str, Dataset],
    found: Mapping[str, TagsOf],
    column: str,
    metrics: Sequence[str],
) -> None:
    """Raise an error for tags that cannot be learned, scored by a metric, or known from the training split."""
    if len(labels) < 2:
        raise UserError(
            f"task.data.label_column: '{column}' has the single tag '{labels[0]}', but a token classification needs "
            "two tags or more; name another column or other files."
        )
    entity_metrics = [metric for metric in metrics if metric != "accuracy"]
    other_tags = [tag for tag in labels if not is_entity_tag(tag)]
    if entity_metrics and other_tags:
        raise UserError(
            f"task.metrics: {entity_metrics[0]} counts entities, but '{other_tags[0]}' in column '{column}' "
            "is not a tag such as B-person, I-person and O; write such tags there, or set task.metrics=[accuracy]."
        )
    for name, split in splits.items():
        unknown = {tag: found[name][tag].count for tag in found[name] if tag not in labels}
        if unknown:
            place = place_of(split, name, found[name][next(iter(unknown))].first_row)
            raise UserError(unknown_labels(unknown, labels, name, place, "tag"))


def _printed(text: Any, cell: int) -> list[Any] | None:
    """The list that a text prints; None for a missing text."""
    words = as_printed_list(text) if text else []
    if words is None or not all(isinstance(word, str | None) for word in words):
        raise LabelError(
            cell,
            f"{text} is no list as Python or JSON write it, such as ['in', 'Rome']; correct it (numpy writes no "
            "commas: use .tolist() before writing the file).",
        )
    return words


def _word_lists(cells: Sequence[Any]) -> list[list[Any]]:
    """The list that each text prints, or its words between blanks."""
    return [as_printed_list(text or "") or (text or "").split() for text in cells]


def _tag_names(feature: Any) -> Callable[[Sequence[Any] | None], list[str]]:
    """A function from the tags of a sentence to their names: '' for a missing tag; unnamed numbers are their name."""
    inner = feature.feature
    names = dict(enumerate(inner.names)) if isinstance(inner, ClassLabel) else {}

    def names_of(tags: Sequence[Any] | None) -> list[str]:
        return ["" if tag in _NO_TAG else names.get(tag, str(tag).strip()) for tag in tags or ()]

    return names_of


def _tag_order(tag: str) -> tuple[bool, int, str, str]:
    """Sort key: O first, numbers by value, B-X and I-X side by side."""
    prefix, kind = split_tag(tag)
    return tag != OUTSIDE, int(tag) if tag.isdecimal() else -1, kind, prefix
