"""`Dataset.map` whose cached results depend on the data, the settings and the code."""

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

DAMAGED = (OSError, ArrowInvalid)  # what `datasets` raises for a truncated cache file
_SOURCE = Path(__file__).parents[1]
_HASHED_FOLDERS = ("data", "functional", "tasks")  # code that can change cached rows


def cached_map(split: Dataset, function: Callable[..., Any], **options: Any) -> Dataset:
    """Map the rows of a split and cache the result for runs with the same data, settings and code.

    A process that maps the same split at the same time waits and uses the result of the first.

    Args:
        split: rows that are stored in files; results for rows in memory stay in memory.
        function: called as by `Dataset.map`; everything it refers to must be picklable and is part of the cache key.
        options: of `Dataset.map`.
    """
    with _lock_of(split):
        try:
            return split.map(_FunctionWithCode(function, code_hash()), **options)
        except DAMAGED as error:
            print(f"note: cached rows are damaged ({error}); they are computed again.")
            return split.map(_FunctionWithCode(function, code_hash()), load_from_cache_file=False, **options)


def _lock_of(split: Dataset) -> AbstractContextManager[None]:
    """A lock between all processes that map this split; a split in memory needs none."""
    if not split.cache_files:
        return nullcontext()
    return named_lock(Path(split.cache_files[0]["filename"]).parent, split._fingerprint)


@dataclass
class _FunctionWithCode:
    """Adds the code hash to the cache key: `datasets` identifies an imported function by its name alone."""

    function: Callable[..., Any]
    code: str

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.function(*args, **options)


@cache
def code_hash() -> str:
    """A hash of all code that can change cached rows."""
    code = hashlib.sha256()
    for folder in _HASHED_FOLDERS:
        for path in sorted((_SOURCE / folder).glob("*.py")):
            code.update(path.read_bytes())
    return code.hexdigest()
