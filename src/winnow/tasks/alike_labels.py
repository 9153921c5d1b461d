"""Labels that differ only in what is hardly seen: capitals, blanks, invisible characters, the form of an accent."""

import sys
import unicodedata
from collections.abc import Iterable

from winnow.errors import visible


def note_alike(names: Iterable[str], column: str) -> None:
    """Print a note if some labels look alike: one of them may be a mistake, and each is a class."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_look(name), []).append(name)
    groups = [group for group in alike.values() if len(group) > 1]
    if groups:
        shown = "; ".join(" and ".join(f"'{_escaped(name)}'" for name in group) for group in groups[:_SHOWN])
        note = visible(f"note: some labels of '{column}' look alike but are different classes: {shown}.")
        print(note, file=sys.stderr)


def _look(name: str) -> str:
    """The name without capitals, blanks and invisible characters, and with one form of each character."""
    return "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if c.isprintable() and c != " ")


def _escaped(name: str) -> str:
    """The name with escapes for invisible characters and for accents that are characters of their own."""
    return visible("".join(c if not unicodedata.combining(c) else f"\\u{ord(c):04x}" for c in name))


_SHOWN = 5  # groups in the note
