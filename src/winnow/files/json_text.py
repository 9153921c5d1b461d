"""JSON in which NaN and infinity are null: the standard has no such numbers, and most programs refuse them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def json_text(content: Any, *, indent: int | None = None, ensure_ascii: bool = True) -> str:
    """The content as JSON, with null for each number that is NaN or infinite.

    Args:
        content: plain values; the arguments are those of `json.dumps`.
    """
    try:
        return json.dumps(content, indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(content), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


def read_json(path: Path) -> Any:
    """The content of a JSON file, with None for NaN and infinity, which earlier versions wrote.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no JSON.
    """
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: None)


def _finite(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {name: _finite(value) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
