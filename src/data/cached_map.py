"""`Dataset.map` whose cached results do not outlive the code that made them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from datasets import Dataset

_SOURCE = Path(__file__).parents[1]


def cached_map(split: Dataset, function: Callable[..., Any], **options: Any) -> Dataset:
    """The rows of a split turned into others, once: the next run with the same data, settings and code finds them.

    Args:
        split: a split that lies in files; results of one in memory stay there.
        function: of rows, as `Dataset.map` calls it; all that it refers to must be picklable and is part of the key.
        options: of `Dataset.map`.
    """
    return split.map(_WithCode(function, _code()), **options)


@dataclass
class _WithCode:
    """`datasets` knows a function of a module by its name alone, and would not see that its code has changed."""

    function: Callable[..., Any]
    code: str

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.function(*args, **options)


@cache
def _code() -> str:
    """A hash of all code that can take part."""
    code = hashlib.sha256()
    for folder in ("data", "functional", "tasks"):
        for path in sorted((_SOURCE / folder).glob("*.py")):
            code.update(path.read_bytes())
    return code.hexdigest()
