"""Tokenize questions with their contexts into overlapping windows, and find answers in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.data.batch import Columns
from winnow.functional.candidates import without_last_marks
from winnow.tasks.predictor import Tokenizer


def answer_windows(
    rows: Columns,
    indices: Sequence[int],
    *,
    tokenizer: Tokenizer,
    training: bool,
    window: int,
    doc_stride: int,
    max_question_length: int,
) -> dict[str, list[Any]]:
    """Each question with a part of its context, in as many windows as the context needs.

    Returns:
        The model's inputs and ``length``. For training also ``start_positions`` and ``end_positions``, the first and
        last token of the answer, 0 if it is not completely inside the window. For evaluation ``example``, the row of
        the question, and for each token ``first_char`` and ``last_char`` (exclusive) in the context, -1 outside it.
    """
    encoded = tokenizer(
        truncate_questions(rows["question"], tokenizer, max_question_length),
        rows["context"],
        truncation="only_second",
        max_length=window,
        stride=doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    examples, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
    columns: dict[str, list[Any]] = {**encoded, "length": [len(ids) for ids in encoded["input_ids"]]}
    chars = []  # for each window (seq, 2)
    for i, pairs in enumerate(offsets):
        in_context = np.array([sequence == 1 for sequence in encoded.sequence_ids(i)])
        chars.append(np.where(in_context[:, None], np.array(pairs), -1))
    if training:
        answers = [rows["answers"][example] for example in examples]
        positions = [answer_tokens(pairs, answer) for pairs, answer in zip(chars, answers, strict=True)]
        columns["start_positions"], columns["end_positions"] = map(list, zip(*positions, strict=True))
    else:
        columns["example"] = [indices[example] for example in examples]
        columns["first_char"], columns["last_char"] = [c[:, 0] for c in chars], [c[:, 1] for c in chars]
    return columns


def answer_tokens(chars: NDArray[np.int64], answers: Mapping[str, Sequence[Any]]) -> tuple[int, int]:
    """First and last token of the first answer; (0, 0) if there is none or it is not completely inside the window.

    A window of a context without tokens, such as one of control characters, has no answer.

    Args:
        chars: start and end (exclusive) of each token in the context, -1 outside it; ``(seq, 2)``.
        answers: ``text`` and ``answer_start``, lists of equal length.
    """
    if not answers["text"]:
        return 0, 0
    first = answers["answer_start"][0]
    last = first + len(without_last_marks(answers["text"][0]))
    inside = np.flatnonzero(chars[:, 0] >= 0)
    if len(inside) == 0 or first < chars[inside[0], 0] or last > chars[inside[-1], 1]:
        return 0, 0
    overlapping = inside[(chars[inside, 0] < last) & (chars[inside, 1] > first)]
    return (int(overlapping[0]), int(overlapping[-1])) if len(overlapping) else (0, 0)


def truncate_questions(questions: Sequence[str], tokenizer: Tokenizer, limit: int) -> list[str]:
    """Questions of at most ``limit`` tokens."""
    offsets = tokenizer(questions, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return [
        text[: pairs[limit - 1][1]] if len(pairs) > limit else text
        for text, pairs in zip(questions, offsets, strict=True)
    ]
