"""SQuAD's JSON (articles, their paragraphs, their questions) in all its dialects, as one row for each question."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from winnow.errors import UserError
from winnow.text import truncated

Rows = Iterator[tuple[str, dict[str, Any]]]

_PARTS = {"article": ("paragraphs", "paragraph"), "paragraph": ("qas", "question")}  # kind -> key, kind of the parts
_LISTS = ("data", "paragraphs", "qas")
_EXPECTED = {
    "article": 'an article with "paragraphs", a list of objects',
    "paragraph": 'a paragraph with "context", a text, and "qas", a list of objects',
    "question": 'an object with "question", a text',
    "row": "an object",
}


def is_nested(document: Any) -> bool:
    """True for a JSON value that `question_rows` has to flatten.

    This is an article (it has ``paragraphs`` that are objects), a paragraph (``qas`` that are objects), an object with
    ``data`` that are objects, or a list with one of these. An object with a ``question`` is always a row.
    """
    if isinstance(document, list):
        return any(map(is_nested, document))
    return _kind(document) != "row"


def question_rows(document: Any) -> Rows:
    """The rows of a JSON value, each with its place, such as ``article 2, paragraph 3, question 1``.

    Args:
        document: a value for which `is_nested` is True, or a list of rows; the leaves are texts or None.

    Yields:
        For a question of a paragraph ``context`` and ``question``, and ``id``, ``title`` and ``answers`` where they
        exist; the answers are not changed, but those of a question with ``is_impossible`` are an empty list. Other
        rows are not changed.

    Raises:
        UserError: with the place, if a part of an article is missing or not what it must be.
    """
    return _items(document, "") if isinstance(document, list) else _rows(document, _kind(document), "", {})


def _kind(value: Any) -> str:
    """document, article or paragraph by the lists of a JSON value; anything else is a row."""
    if not isinstance(value, Mapping) or "question" in value or value.keys().isdisjoint(_LISTS):
        return "row"
    if _objects(value.get("data")):
        return "document"
    if any("qas" in each or "context" in each for each in _objects(value.get("paragraphs"))):
        return "article"
    questions = value.get("qas")
    if _objects(questions) or (questions == [] and "context" in value):
        return "paragraph"
    return "row"


def _objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; none of anything else."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _items(items: list[Any], place: str) -> Rows:
    """The rows of a list of rows, or of articles and the like; beside these a row must be a question."""
    nested = is_nested(items)
    for i, item in enumerate(items, start=1):
        kind = _kind(item)
        if nested and kind == "row" and not (isinstance(item, Mapping) and "question" in item):
            kind = "paragraph" if isinstance(item, Mapping) and "qas" in item else "article"
        yield from _rows(item, kind, _within(place, f"{kind} {i}"), {})


def _rows(value: Any, kind: str, place: str, inherited: dict[str, Any]) -> Rows:
    """The rows of a value of this kind; ``inherited`` are the cells from the article and the paragraph around it."""
    if not isinstance(value, Mapping):
        raise _wrong(value, kind, place)
    if kind == "document":
        yield from _items(value["data"], place)
    elif kind == "article":
        yield from _parts(value, kind, place, _title(value))
    elif kind == "paragraph":
        yield from _parts(
            value, kind, place, inherited | _title(value) | {"context": _text(value, "context", kind, place)}
        )
    elif kind == "question":
        yield place, inherited | {"question": _text(value, "question", kind, place)} | _id(value) | _answers(value)
    else:
        yield place, dict(value)


def _parts(value: Mapping[str, Any], kind: str, place: str, inherited: dict[str, Any]) -> Rows:
    """The rows of the paragraphs of an article, or of the questions of a paragraph."""
    key, inner = _PARTS[kind]
    if not isinstance(value.get(key), list):
        raise _wrong(value, kind, place)
    for i, part in enumerate(value[key], start=1):
        yield from _rows(part, inner, _within(place, f"{inner} {i}"), inherited)


def _title(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"title": value["title"]} if "title" in value else {}


def _id(value: Mapping[str, Any]) -> dict[str, Any]:
    found = value.get("id") or value.get("qid")
    return {"id": found} if found else {}


def _answers(value: Mapping[str, Any]) -> dict[str, Any]:
    """The answers of a question, if it has any; plausible_answers are wrong answers."""
    if str(value.get("is_impossible")).lower() in ("true", "1"):
        return {"answers": []}
    return {"answers": value["answers"]} if "answers" in value else {}


def _text(value: Mapping[str, Any], key: str, kind: str, place: str) -> str | None:
    if key not in value or not isinstance(value[key], (str, type(None))):
        raise _wrong(value, kind, place)
    text: str | None = value[key]
    return text


def _within(place: str, part: str) -> str:
    return f"{place}, {part}" if place else part


def _wrong(value: Any, kind: str, place: str) -> UserError:
    if isinstance(value, Mapping):
        got = ", ".join(f'"{key}": {_json(inner, 20)}' for key, inner in value.items())
        got = f"{{{truncated(got, 100)}}}"
    else:
        got = _json(value, 40)
    return UserError(f"{place}{': ' if place else ''}expected {_EXPECTED[kind]}; got {got}.")


def _json(value: Any, length: int) -> str:
    return truncated(json.dumps(value, ensure_ascii=False), length)
