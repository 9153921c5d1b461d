"""Split sentences into words, and words into windows of tokens."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.tasks.predictor import Tokenizer

IGNORED = -100  # the label of a token without a tag, as in torch and transformers
_WORDS = re.compile(r"\S+")
# "don't", "U.S" and "http://t.co" are words; a comma after a word is a separate word.
_WORDS_AND_PUNCTUATION = re.compile(r"\w+(?:[^\w\s]+\w+)*|[^\w\s]")


def split_words(text: str | Sequence[str], split_punctuation: bool = False) -> tuple[list[str], list[tuple[int, int]]]:
    """The words of a text or list, and the start and end (exclusive) of each word in it.

    Args:
        text: a text, split at blanks, or a list of words.
        split_punctuation: punctuation before and after a word becomes a separate word, as in most training data.
    """
    if isinstance(text, str):
        matches = list((_WORDS_AND_PUNCTUATION if split_punctuation else _WORDS).finditer(text))
        return [match.group() for match in matches], [match.span() for match in matches]
    return list(text), [(i, i + 1) for i in range(len(text))]


def word_windows(
    sentences: Sequence[Sequence[str]], tokenizer: Tokenizer, max_length: int
) -> tuple[Any, NDArray[np.int64], NDArray[np.int64]]:
    """Tokenize sentences and cut them into windows that do not overlap.

    Returns:
        The inputs of the model; the index of the sentence of each window, ``(windows,)``; and the index of the word of
        each token, counted over the words of all sentences, -1 for special tokens, ``(tokens of all windows,)``.
    """
    encoded = tokenizer(
        sentences,
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        return_overflowing_tokens=True,
    )
    sentence = np.array(encoded.pop("overflow_to_sample_mapping"))
    windows = encoded.encodings or []
    words_before = np.cumsum([0, *map(len, sentences)])[sentence]  # in earlier sentences, for each window
    word_in_sentence = np.concatenate([np.array(window.word_ids, dtype=float) for window in windows])
    words = np.repeat(words_before, [len(window) for window in windows]) + word_in_sentence
    return encoded, sentence, np.nan_to_num(words, nan=-1).astype(np.int64)


def first_and_later_tokens(words: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """True for the first token of each word, and True for its later tokens, even those in another window.

    Args:
        words: index of the word of each token, -1 for special tokens.
    """
    first = np.zeros(len(words), dtype=bool)
    first[np.unique(words, return_index=True)[1]] = True
    return first & (words >= 0), ~first & (words >= 0)


def cut(values: NDArray[np.int64], lengths: Sequence[int]) -> list[NDArray[np.int64]]:
    """The values of each window."""
    return np.split(values, np.cumsum(lengths)[:-1])
