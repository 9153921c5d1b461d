"""`Dataset.map` whose cached results do not outlive the code that made them."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from datasets import Dataset
from pyarrow import ArrowInvalid

from winnow.files.locks import named_lock

DAMAGED = (OSError, ArrowInvalid)  # as `datasets` fails at a file of its own that was cut short
_SOURCE = Path(__file__).parents[1]


def cached_map(split: Dataset, function: Callable[..., Any], **options: Any) -> Dataset:
    """The rows of a split turned into others, once: the next run with the same data, settings and code finds them.

    So does one that asks at the same time; it waits.

    Args:
        split: a split that lies in files; results of one in memory stay there.
        function: of rows, as `Dataset.map` calls it; all that it refers to must be picklable and is part of the key.
        options: of `Dataset.map`.
    """
    with _alone_with(split):
        try:
            return split.map(_WithCode(function, _code()), **options)
        except DAMAGED as error:
            print(f"note: cached rows are damaged ({error}); they are computed anew.")
            return split.map(_WithCode(function, _code()), load_from_cache_file=False, **options)


def _alone_with(split: Dataset) -> AbstractContextManager[None]:
    """A lock among all processes that map a split; nobody else can find what is made of one in memory."""
    if not split.cache_files:
        return nullcontext()
    return named_lock(Path(split.cache_files[0]["filename"]).parent, split._fingerprint)


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
