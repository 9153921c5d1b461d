"""Read the answers of a question answering split in any of their forms, and check them against the contexts."""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset, List, Value

from winnow.data.cached_map import cached_map
from winnow.errors import UserError

_ANSWER_KEYS = ("text", "answer_start")


def with_answer_lists(split: Dataset, column: str, start_column: str | None) -> Dataset:
    """Convert answers to {"text": [...], "answer_start": [...]}.

    Args:
        split: any rows.
        column: column of the answers: such mappings already, lists of {"text", "answer_start"}, or plain texts.
        start_column: for plain texts, the column with the position of their first character in the context.
    """
    answers = split.features[column]
    if isinstance(answers, dict) and set(_ANSWER_KEYS) <= answers.keys():
        return split
    if isinstance(answers, List) and isinstance(answers.feature, dict):
        names = _ANSWER_KEYS
        return cached_map(split, lambda row: {column: {name: [a[name] for a in row[column]] for name in names}})
    if start_column is not None and isinstance(answers, Value):
        return cached_map(split, lambda row: {column: _answer_list(row[column], row[start_column])})
    raise UserError(
        f"task.data.label_column: '{column}' must hold answers such as "
        '{"text": ["the words"], "answer_start": [12]} with the position of the first character in the context; '
        "if it holds plain texts, name the column of the positions with task.data.answer_start_column=COLUMN."
    )


def check_answers(split: Dataset, name: str, *, unanswerable: bool) -> None:
    """Raise an error for the first row whose answers do not match its context.

    Args:
        split: has the columns context and answers.
        name: name of the split, for error messages.
        unanswerable: True: a question may have no answer.
    """
    row = 0
    for rows in split.select_columns(["context", "answers"]).iter(1000):
        for context, answers in zip(rows["context"], rows["answers"], strict=True):
            row += 1
            _check_row(context, answers, f"the {name} split, row {row}", unanswerable)


def _check_row(context: str, answers: Mapping[str, Sequence[Any]], where: str, unanswerable: bool) -> None:
    if not answers["text"] and not unanswerable:
        raise UserError(
            f"{where}: the question has no answer; for data such as SQuAD v2 set task=squad_v2 or "
            "task.unanswerable=true."
        )
    if len(answers["text"]) != len(answers["answer_start"]):
        raise UserError(
            f"{where}: there are {len(answers['text'])} answers but {len(answers['answer_start'])} values of "
            "answer_start; correct the row or leave it out."
        )
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        found = context[start : start + len(text)]
        if found != text:
            raise UserError(
                f"{where}: answer_start {start} is wrong: the context has '{found}' there, not '{text}'; "
                "correct the row or leave it out."
            )


def _answer_list(text: str | None, start: Any) -> dict[str, list[Any]]:
    return {"text": [text], "answer_start": [int(start)]} if text else {"text": [], "answer_start": []}
