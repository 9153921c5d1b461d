"""Lists and mappings in text form: as JSON, or as Python prints them."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from winnow.text import truncated

_MAX_LENGTH = 1_000_000  # characters
_MAX_DEPTH = 20  # brackets within brackets
_ESCAPE = r"""\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[bfnrt/\\'"])"""
_TOKEN = re.compile(
    r"[ \t\r\n]*(?:(?P<mark>[\[\](){},:])"
    rf"|\"(?P<double>[^\"\\\r\n]*(?:{_ESCAPE}[^\"\\\r\n]*)*)\""
    rf"|'(?P<single>[^'\\\r\n]*(?:{_ESCAPE}[^'\\\r\n]*)*)'"
    r"|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![0-9.])"
    r"|(?P<name>null|None|true|True|false|False))[ \t\r\n]*"
)
_NAMES = {"null": None, "None": None, "true": "true", "True": "true", "false": "false", "False": "false"}
_OPENING = {"[": "]", "(": ")", "{": "}"}
_CHARACTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def printed_value(text: str) -> Any:
    """The lists, mappings and texts that a text spells, such as ``["a", 1.0]`` or ``{'a': [True, None]}``.

    Args:
        text: at most 1,000,000 characters and 20 levels of brackets.

    Returns:
        Texts, None, and lists and mappings of these. Numbers are texts as they are written, truth values are "true" or
        "false", tuples are lists.

    Raises:
        ValueError: for anything else, such as a set, ``array(...)``, nan, a mapping with a key twice, or strings
            without commas between them, as numpy prints them; Python itself would join these.
    """
    return _Parser(text).whole()


def as_printed_list(text: str) -> list[Any] | None:
    """The list that a text prints, such as ``['a', 'b']`` or ``('a', 'b')``; None for another text."""
    if not text.strip().startswith(("[", "(")):
        return None
    try:
        value = printed_value(text)
    except ValueError:
        return None
    return value if isinstance(value, list) else None


class _Token(NamedTuple):
    mark: str  # a bracket, comma or colon; '' for a value, "end" behind the last one
    value: str | None
    position: int  # in the text


class _Parser:
    """Reads a value from the tokens of a text; ``index`` is that of the next token."""

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > _MAX_LENGTH:
            raise self._error(f"it has {len(text):,} characters, more than {_MAX_LENGTH:,}")
        self.tokens = list(self._tokens())
        self.index = 0

    def whole(self) -> Any:
        value = self._value(depth=0)
        if not self._found("end"):
            raise self._unexpected()
        return value

    def _value(self, depth: int) -> Any:
        token = self.tokens[self.index]
        if token.mark not in _OPENING and token.mark != "":
            raise self._unexpected()
        if token.mark and depth == _MAX_DEPTH:
            raise self._error(f"its values are nested more than {_MAX_DEPTH} levels deep")
        self.index += 1
        if token.mark == "":
            return token.value
        return self._mapping(depth + 1) if token.mark == "{" else self._list(_OPENING[token.mark], depth + 1)

    def _list(self, closing: str, depth: int) -> list[Any]:
        values: list[Any] = []
        while not self._found(closing):
            if values:
                self._need(",")
                if closing == ")" and self._found(")"):  # as in ('a',)
                    return values
            values.append(self._value(depth))
        if closing == ")" and len(values) == 1:
            raise self._error("a tuple of one value needs a comma behind it")
        return values

    def _mapping(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not self._found("}"):
            if values:
                self._need(",")
            key = self.tokens[self.index].value
            if key is None:
                raise self._unexpected()
            if key in values:
                raise self._error(f"it has the key '{key}' twice")
            self._need("")
            self._need(":")
            values[key] = self._value(depth)
        return values

    def _found(self, mark: str) -> bool:
        """True, and the next token is passed, if it is this mark."""
        found = self.tokens[self.index].mark == mark
        self.index += found
        return found

    def _need(self, mark: str) -> None:
        if not self._found(mark):
            raise self._unexpected()

    def _tokens(self) -> Iterator[_Token]:
        position = 0
        while position < len(self.text):
            match = _TOKEN.match(self.text, position)
            if match is None:
                raise self._error(f"{self._shown(position)} is neither in quotes nor a number, true, false or null")
            kind = match.lastgroup or ""
            if kind == "mark":
                yield _Token(match[kind], None, position)
            else:
                yield _Token("", self._leaf(kind, match[kind], position), position)
            position = match.end()
        yield _Token("end", None, position)

    def _leaf(self, kind: str, text: str, position: int) -> str | None:
        if kind == "name":
            return _NAMES[text]
        if "\\" not in text:
            return text
        try:  # two escapes of JSON together may be one character
            return re.sub(_ESCAPE, _character, text).encode("utf-16", "surrogatepass").decode("utf-16")
        except (ValueError, OverflowError) as error:
            raise self._error(f"{self._shown(position)} has an escape that is no character") from error

    def _unexpected(self) -> ValueError:
        before, token = self.tokens[self.index - 1], self.tokens[self.index]
        if token.mark == "end":
            return self._error("it ends too early")
        if token.mark == "" and before.mark in ("", "]", ")", "}"):
            return self._error(f"a comma is missing before {self._shown(token.position)}")
        return self._error(f"{self._shown(token.position)} is not expected there")

    def _shown(self, position: int) -> str:
        return f"{_one_line(self.text[position:], 20)} (character {position + 1})"

    def _error(self, reason: str) -> ValueError:
        return ValueError(f"{_one_line(self.text, 40)} cannot be read as a list or a mapping: {reason}")


def _character(escape: re.Match[str]) -> str:
    code = escape[0][1:]
    return chr(int(code[1:], 16)) if code[0] in "xuU" else _CHARACTERS.get(code, code)


def _one_line(text: str, length: int) -> str:
    return truncated(" ".join(text[: 2 * length].split()), length)
