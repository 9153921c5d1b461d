"""Variables of a recipe or of one of its stages, evaluated in the order in which they depend on each other."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from winnow.errors import nearest
from winnow.sparseml.expressions import as_number, evaluate
from winnow.sparseml.recipe_error import RecipeError

_MAX_CHAIN = 50  # variables that refer to each other
_EXPRESSION = re.compile(r"\s*eval\((.*)\)\s*", re.DOTALL)


@dataclass(frozen=True)
class Reference:
    """A YAML alias of a variable; it follows the variable when that is overridden."""

    name: str


class Variables:
    """Evaluated variables, defined in any order.

    Args:
        raw: name -> value as written in the file.
        lines: name -> line of its definition, from 1.
        outer: variables of the whole recipe, which those of a stage shadow.
    """

    def __init__(
        self, raw: Mapping[str, Any], lines: Mapping[str, int] | None = None, outer: "Variables | None" = None
    ) -> None:
        self._raw = raw
        self._lines = lines or {}
        self._outer = outer
        self._values: dict[str, Any] = {}
        self._evaluating: list[str] = []
        self._uses: dict[str, set[str]] = outer._uses if outer else {"": set()}  # variable -> those it refers to
        for name in raw:
            self._value(name)

    @property
    def names(self) -> list[str]:
        """All variables that can be used here, in alphabetical order."""
        return sorted({*self._raw, *(self._outer.names if self._outer else ())})

    @property
    def used(self) -> set[str]:
        """The variables on which a parameter of a modifier depends."""
        found, pending = set(), set(self._uses[""])
        while pending:
            name = pending.pop()
            found.add(name)
            pending |= self._uses.get(name, set()) - found
        return found

    def __getitem__(self, name: str) -> Any:
        self._uses.setdefault(self._evaluating[-1] if self._evaluating else "", set()).add(name)
        return self._value(name)

    def fill_in(self, value: Any) -> Any:
        """The value with every ``eval(...)`` and every alias replaced by its result, in lists and mappings too."""
        if isinstance(value, Reference):
            return self[value.name]
        if isinstance(value, list):
            return [self.fill_in(item) for item in value]
        if isinstance(value, dict):
            return {self._key(key): self.fill_in(item) for key, item in value.items()}
        match = _EXPRESSION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return as_number(value)
        expression = match[1].strip()
        # a single variable may have any value, an expression only numbers
        return self[expression] if expression.isidentifier() else evaluate(expression, self)

    def _key(self, key: Any) -> Any:
        filled = self.fill_in(key)
        if isinstance(filled, list | dict):
            raise RecipeError(f"the key {key} evaluates to a list or a mapping; a key must be a word or a number.")
        return filled

    def _value(self, name: str) -> Any:
        if name in self._raw:
            if name not in self._values:
                self._values[name] = self._evaluated(name)
            return self._values[name]
        if self._outer is not None and name in self._outer.names:
            return self._outer._value(name)
        listed = f"the file has {', '.join(self.names)}" if self.names else "the file has none"
        raise RecipeError(f"there is no variable {name}; {listed}.{nearest(name, self.names)}")

    def _evaluated(self, name: str) -> Any:
        if name in self._evaluating:
            cycle = " -> ".join([*self._evaluating[self._evaluating.index(name) :], name])
            raise RecipeError(f"the variables refer to each other in a cycle: {cycle}.")
        if len(self._evaluating) >= _MAX_CHAIN:
            raise RecipeError(f"more than {_MAX_CHAIN} variables refer to each other in a chain.")
        self._evaluating.append(name)
        try:
            value = self.fill_in(self._raw[name])
        except RecipeError as error:
            error.line = error.line or self._lines.get(name)
            raise
        self._evaluating.pop()
        return value
