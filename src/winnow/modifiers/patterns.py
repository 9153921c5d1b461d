"""Match full names by regular expressions."""

import re
from collections import Counter
from collections.abc import Collection, Iterable

from winnow.errors import UserError, nearest


def matching(patterns: Iterable[str], names: Collection[str], *, setting: str, kind: str) -> set[str]:
    """The names that any of the patterns matches whole; a pattern that matches none is an error.

    Args:
        patterns: regular expressions.
        names: all names.
        setting: of the patterns, for the error message, e.g. ``params``.
        kind: of the named things, for the error message, e.g. ``parameters``.
    """
    matched: set[str] = set()
    for pattern in patterns:
        try:
            hits = {name for name in names if re.fullmatch(pattern, name)}
        except re.error as error:
            raise UserError(f"{setting}: '{pattern}' is not a regular expression ({error}).") from error
        if not hits:
            examples = ", ".join(list(names)[:2])
            raise UserError(
                f"{setting}: '{pattern}' matches none of the {len(names)} {kind}; they look like {examples}."
                f"{nearest(pattern, names) or _numbered(names)}"
            )
        matched |= hits
    return matched


def _numbered(names: Iterable[str]) -> str:
    """A hint at a pattern that matches the names in the largest list of numbered modules; '' without such a list."""
    lists = Counter(found[1] for name in names if (found := re.search(r"(?:^|\.)(\w+)\.\d+\.", name)))
    for module, count in lists.most_common(1):
        return rf" '(.*\.)?{module}\.\d+\..*' matches {count} of them."
    return ""
