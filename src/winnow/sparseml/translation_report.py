"""The report on a translation: for each modifier of the file its native modifiers, what is ignored and what differs."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from winnow.errors import visible
from winnow.sparseml.native import NativeModifier
from winnow.sparseml.translation import Translation

_WIDTH = 100  # characters of the right column


@dataclass(frozen=True)
class Entry:
    """The part of the report on one modifier of the file.

    Args:
        line: in the file.
        source: its name there.
        natives: a text for each native modifier, or why there is none.
        notes: what is ignored, and what differs.
    """

    line: int
    source: str
    natives: tuple[str, ...]
    notes: tuple[str, ...]


def entries(translation: Translation) -> list[Entry]:
    keys = {id(native): key for key, native in translation.natives.items()}
    return [
        Entry(
            modifier.line,
            modifier.name,
            tuple(_native(keys[id(native)], native) for native in modifier.natives) or (modifier.without_natives,),
            tuple(modifier.notes),
        )
        for modifier in translation.modifiers
    ]


def report(translation: Translation) -> str:
    """Aligned plain text, a few lines for each modifier."""
    listed = entries(translation)
    width = max(len(entry.source) for entry in listed)
    epochs = f"{translation.num_epochs} epoch{'s' if translation.num_epochs > 1 else ''}"
    lines = [f"{translation.path}: a recipe of SparseML, {epochs}", ""]
    lines.append(f"line  {'SparseML':<{width}}  Winnow")
    for entry in listed:
        left = f"{entry.line:>4}  {entry.source:<{width}}  "
        for text in (*entry.natives, *entry.notes):
            for line in textwrap.wrap(
                text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            ):
                lines.append(left + line)
                left = " " * len(left)
    return visible("\n".join([*lines, "", *(f"note: {note}" for note in translation.notes)]) + "\n")


def _native(key: str, native: NativeModifier) -> str:
    kind = "" if native.file == native.key else f"{native.file}, "
    return f"{key}: {kind}{', '.join(_settings(native.settings))}"


def _settings(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, float):
            value = f"{value:g}"
        elif isinstance(value, str):
            value = value.removeprefix("${..").removesuffix("}")
        elif isinstance(value, list):
            value = f"{len(value)} patterns" if len(value) > 1 else value[0]
        elif isinstance(value, dict):
            value = ", ".join(f"{key}: {item}" for key, item in value.items())
        yield f"{name} {value}"
