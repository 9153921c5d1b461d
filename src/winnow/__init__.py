"""Winnow: prune, distil, quantise and export transformer encoders in one run."""

from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # heavy: not needed by the commands' start
        from winnow.models.pretrained import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
