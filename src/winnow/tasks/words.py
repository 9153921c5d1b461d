"""The words of sentences, and the tokens and windows that they become."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_BY_BLANKS = re.compile(r"\S+")
_AND_SIGNS = re.compile(r"\w+(?:[^\w\s]+\w+)*|[^\w\s]")  # don't, U.S and http://t.co are words, a comma behind them too


def words_of(text: str | Sequence[str], split_punctuation: bool = False) -> tuple[list[str], list[tuple[int, int]]]:
    """The words of a text, or those of a list, with the start and end of each in it.

    Args:
        text: its words are parted by blanks.
        split_punctuation: signs before and after a word are words of their own, as in most training data.
    """
    if isinstance(text, str):
        found = list((_AND_SIGNS if split_punctuation else _BY_BLANKS).finditer(text))
        return [match.group() for match in found], [match.span() for match in found]
    return list(text), [(i, i + 1) for i in range(len(text))]


def windows_of_words(
    sentences: Sequence[Sequence[str]], tokenizer: Any, max_length: int
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Sentences cut into windows that do not overlap.

    Returns:
        The inputs of the model; the sentence of each window, ``(windows,)``; and for each token of all windows the
        place of its word among the words of all sentences, -1 for special tokens, ``(tokens,)``.
    """
    encoded = tokenizer(
        sentences,
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        return_overflowing_tokens=True,
    )
    sentence = np.array(encoded.pop("overflow_to_sample_mapping"))
    words_before = np.cumsum([0, *map(len, sentences)])[sentence]  # of each window's sentence
    in_sentence = np.concatenate([np.array(window.word_ids, dtype=float) for window in encoded.encodings])
    places = np.repeat(words_before, [len(window) for window in encoded.encodings]) + in_sentence
    return encoded, sentence, np.nan_to_num(places, nan=-1).astype(np.int64)


def first_and_rest(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the first token of a word stands, and where another does, also if a window cuts the word in two."""
    first = np.zeros(len(places), dtype=bool)
    first[np.unique(places, return_index=True)[1]] = True
    return first & (places >= 0), ~first & (places >= 0)
