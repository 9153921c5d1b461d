"""The arithmetic of ``eval(...)`` in a recipe: small, bounded, and never Python's own eval."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from winnow.errors import nearest

_MAX_LENGTH = 500  # characters
_MAX_DEPTH = 50  # of operators, and of variables that refer to one another
_MAX_EXPONENT = 64
_MAX_DIGITS = 20
_MAX_SIZE = 1e18  # of any result on the way

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_WHOLE_VALUE = re.compile(r"\s*eval\((.*)\)\s*", re.DOTALL)


class RecipeError(ValueError):
    """What is wrong with a value of a recipe, and in which line, where that is known; the file is known further out."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Reference:
    """A YAML alias of a variable; it follows the variable when that is overridden."""

    name: str


class Variables:
    """The variables of a recipe or a stage, in any order of definition.

    Args:
        raw: name -> value as it stands in the file.
        lines: name -> line of its definition, from 1.
        outer: variables that these shadow.
    """

    def __init__(
        self, raw: Mapping[str, Any], lines: Mapping[str, int] | None = None, outer: "Variables | None" = None
    ) -> None:
        self._raw = raw
        self._lines = lines or {}
        self._outer = outer
        self._known: dict[str, Any] = {}
        self._open: list[str] = []
        self._uses: dict[str, set[str]] = outer._uses if outer else {"": set()}
        for name in raw:
            self._evaluated(name)

    @property
    def names(self) -> list[str]:
        """All that can be used here, in alphabetical order."""
        return sorted({*self._raw, *(self._outer.names if self._outer else ())})

    @property
    def used(self) -> set[str]:
        """The variables on which a value asked for from outside depends."""
        found, left = set(), set(self._uses[""])
        while left:
            name = left.pop()
            found.add(name)
            left |= self._uses.get(name, set()) - found
        return found

    def __getitem__(self, name: str) -> Any:
        self._uses.setdefault(self._open[-1] if self._open else "", set()).add(name)
        if name in self._raw:
            return self._evaluated(name)
        if self._outer is not None and name in self._outer.names:
            return self._outer._evaluated(name)
        listed = f"the file has {', '.join(self.names)}" if self.names else "the file has none"
        raise RecipeError(f"there is no variable {name}; {listed}.{nearest(name, self.names)}")

    def fill_in(self, value: Any) -> Any:
        """A value with every ``eval(...)`` and alias in it worked out, also inside lists and mappings."""
        if isinstance(value, Reference):
            return self[value.name]
        if isinstance(value, list):
            return [self.fill_in(item) for item in value]
        if isinstance(value, dict):
            return {self._key(key): self.fill_in(item) for key, item in value.items()}
        match = _WHOLE_VALUE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return as_number(value)
        expression = match[1].strip()
        return (
            self[expression] if expression.isidentifier() else evaluate(expression, self)
        )  # a variable holds anything

    def _key(self, key: Any) -> Any:
        filled = self.fill_in(key)
        if isinstance(filled, (list, dict)):
            raise RecipeError(f"the key {key} stands for a list or a mapping, which no key can be.")
        return filled

    def _evaluated(self, name: str) -> Any:
        if name not in self._raw:
            assert self._outer is not None
            return self._outer._evaluated(name)
        if name not in self._known:
            if name in self._open:
                cycle = " -> ".join([*self._open[self._open.index(name) :], name])
                raise RecipeError(f"the variables refer to one another in a cycle: {cycle}.")
            if len(self._open) >= _MAX_DEPTH:
                raise RecipeError(f"more than {_MAX_DEPTH} variables refer to one another in a row.")
            self._open.append(name)
            try:
                self._known[name] = self.fill_in(self._raw[name])
            except RecipeError as error:
                error.line = error.line or self._lines.get(name)
                raise
            self._open.pop()
        return self._known[name]


def as_number(value: Any) -> Any:
    """A number written as text, such as 8e-5, which YAML 1.1 takes for a text; any other value as it is."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return int(value) if value.strip().lstrip("+-").isdigit() and len(value) <= 18 else float(value)


def evaluate(expression: str, variables: Variables | Mapping[str, Any]) -> float:
    """The number that an arithmetic expression is.

    Knows + - * / // ** %, signs, parentheses, numbers, variables and abs float int max min round. Length, depth,
    powers and sizes are bounded: any text is worked out or refused in milliseconds.

    Raises:
        RecipeError: for anything else.
    """
    if len(expression) > _MAX_LENGTH:
        raise RecipeError(f"eval(...) has {len(expression):,} characters; {_MAX_LENGTH} are the most.")
    shown = expression if len(expression) <= 60 else f"{expression[:60]}..."
    try:
        return _value(ast.parse(expression, mode="eval").body, variables, depth=0)
    except RecipeError:
        raise
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise RecipeError(f"eval({shown}) is not an arithmetic expression.") from error
    except ZeroDivisionError as error:
        raise RecipeError(f"eval({shown}) divides by zero.") from error
    except _RefusedError as error:
        raise RecipeError(f"eval({shown}) {error}.") from error
    except (ValueError, OverflowError, TypeError) as error:
        raise RecipeError(f"eval({shown}) cannot be worked out ({error}).") from error


class _RefusedError(Exception):
    """Why an expression is refused, said of it."""


def _power(base: float, exponent: float) -> float:
    if abs(exponent) > _MAX_EXPONENT:
        raise _RefusedError(f"has the power {exponent:g}; {_MAX_EXPONENT} is the highest")
    return base**exponent


def _round(number: float, digits: int = 0) -> float:
    if abs(digits) > _MAX_DIGITS:
        raise _RefusedError(f"rounds to {digits:g} digits; {_MAX_DIGITS} are the most")
    return round(number, digits) if digits else round(number)


_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_UNARY: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (abs, float, int, max, min)},
    "round": _round,
}


def _value(node: ast.expr, variables: Variables | Mapping[str, Any], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise _RefusedError(f"is nested more than {_MAX_DEPTH} deep")
    match node:
        case ast.Constant():
            result = node.value
        case ast.Name():
            result = variables[node.id]
        case ast.BinOp() if type(node.op) in _BINARY:
            left, right = (_value(side, variables, depth + 1) for side in (node.left, node.right))
            result = _BINARY[type(node.op)](left, right)
        case ast.UnaryOp() if type(node.op) in _UNARY:
            result = _UNARY[type(node.op)](_value(node.operand, variables, depth + 1))
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            result = _FUNCTIONS[name](*(_value(argument, variables, depth + 1) for argument in node.args))
        case _:
            raise _RefusedError(f"has more than arithmetic and {', '.join(_FUNCTIONS)}")
    if isinstance(result, bool) or not isinstance(result, (int, float)):
        raise _RefusedError(f"has a part that is no number: {str(result)[:40]!r}")
    if not math.isfinite(result) or abs(result) > _MAX_SIZE:
        raise _RefusedError("has a part that is too large")
    return result
