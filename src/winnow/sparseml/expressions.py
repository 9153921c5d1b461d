"""The arithmetic of ``eval(...)`` in a recipe: parsed by ``ast``, limited to an allow-list, bounded in size."""

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import Any, Protocol

from winnow.sparseml.recipe_error import RecipeError

_MAX_LENGTH = 500  # characters
_MAX_DEPTH = 50  # of nested operators
_MAX_EXPONENT = 64
_MAX_DIGITS = 20
_MAX_SIZE = 1e18  # of every intermediate result

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


class Lookup(Protocol):
    """Values of variables by name."""

    def __getitem__(self, name: str, /) -> Any: ...


def as_number(value: Any) -> Any:
    """Convert a number written as text, such as 8e-5, which YAML 1.1 reads as text; return other values unchanged."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return int(value) if value.strip().lstrip("+-").isdigit() and len(value) <= 18 else float(value)


def evaluate(expression: str, variables: Lookup) -> float:
    """Evaluate an arithmetic expression.

    Allowed are + - * / // ** %, signs, parentheses, numbers, variables and abs float int max min round. Length, depth,
    exponents and sizes are bounded, so every text is evaluated or refused within milliseconds.

    Raises:
        RecipeError: for anything else.
    """
    if len(expression) > _MAX_LENGTH:
        raise RecipeError(f"eval(...) has {len(expression):,} characters; at most {_MAX_LENGTH} are allowed.")
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
        raise RecipeError(f"eval({shown}) cannot be evaluated ({error}).") from error


class _RefusedError(Exception):
    """Why an expression is refused; the message follows ``eval(...)``."""


def _power(base: float, exponent: float) -> Any:  # complex for a negative base
    if abs(exponent) > _MAX_EXPONENT:
        raise _RefusedError(f"has the exponent {exponent:g}; at most {_MAX_EXPONENT} is allowed")
    return base**exponent


def _round(number: float, digits: int = 0) -> float:
    if abs(digits) > _MAX_DIGITS:
        raise _RefusedError(f"rounds to {digits:g} digits; at most {_MAX_DIGITS} are allowed")
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


def _value(node: ast.expr, variables: Lookup, depth: int) -> float:
    if depth > _MAX_DEPTH:
        raise _RefusedError(f"is nested more than {_MAX_DEPTH} levels deep")
    result: Any
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
            raise _RefusedError(f"may contain only arithmetic and {', '.join(_FUNCTIONS)}")
    if isinstance(result, bool) or not isinstance(result, int | float):
        raise _RefusedError(f"contains a value that is not a number: {str(result)[:40]!r}")
    if not math.isfinite(result) or abs(result) > _MAX_SIZE:
        raise _RefusedError("contains a number that is too large")
    return result
