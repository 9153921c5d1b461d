"""Split sentences into words, and words into windows of tokens."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.tasks.predictor import Tokenizer

IGNORED = -100  # the label of a token without a tag, as in torch and transformers
_BETWEEN_BLANKS = re.compile(r"\S+")
_ABBREVIATION = re.compile(r"(\w\.){2,}")  # U.S. keeps its last period
_POSSESSIVES = ("'s", "\N{RIGHT SINGLE QUOTATION MARK}s")
_SIGILS = "@#"  # stay with the name or the word that follows


def split_words(text: str | Sequence[str], split_punctuation: bool) -> tuple[list[str], list[tuple[int, int]]]:
    """The words of a text or list, and the start and end (exclusive) of each word in it.

    Args:
        text: a text, split at blanks, or a list of words, which stays as it is.
        split_punctuation: each punctuation mark or symbol before or after a word of a text becomes a separate word, and
            so does a final 's, as in most training data: '"Rome\'s," don\'t' has the words " Rome 's , " don't.
    """
    if not isinstance(text, str):
        return list(text), [(i, i + 1) for i in range(len(text))]
    places = [found.span() for found in _BETWEEN_BLANKS.finditer(text)]
    if split_punctuation:
        places = [place for start, end in places for place in _without_punctuation(text[start:end], start)]
    return [text[start:end] for start, end in places], places


def _without_punctuation(word: str, start: int) -> Iterator[tuple[int, int]]:
    """The places in the text of what is between two blanks; punctuation alone, such as an ellipsis, is one word."""
    marks = [unicodedata.category(character)[0] in "PS" for character in word]  # combining marks belong to words
    first = next((i for i, mark in enumerate(marks) if not mark), 0)
    last = len(word) - next((i for i, mark in enumerate(reversed(marks)) if not mark), 0)
    first -= first > 0 and (word[first - 1] in _SIGILS or word[first - 1 : last] in _POSSESSIVES)
    last += bool(_ABBREVIATION.fullmatch(word, first, last + 1))
    inner = [last - 2] if word[first + 1 : last].endswith(_POSSESSIVES) else []
    yield from pairwise([start + i for i in (*range(first + 1), *inner, *range(last, len(word) + 1))])


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
