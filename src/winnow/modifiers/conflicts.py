"""Refuse recipes with modifiers that conflict, before anything is trained."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from winnow.errors import UserError

if TYPE_CHECKING:
    from winnow.modifiers.modifier import Modifier


def refuse_conflicts(modifiers: "Sequence[Modifier]", path: str = "") -> None:
    """Refuse two modifiers that would control the same thing, such as a mask or the learning rate, at the same time.

    Args:
        modifiers: of one training, after ``match`` and ``begin``; windows that only touch do not overlap.
        path: what comes before the names of the modifiers in a message, such as ``recipe.``.
    """
    for first, second in itertools.combinations(modifiers, 2):
        shared = first.exclusive_targets() & second.exclusive_targets()
        if shared and _overlap(first, second):
            more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            other = ", or give them different params" if second.matched() else ""
            epoch = first.clock.epoch(max(first.window.start, second.window.start))
            raise UserError(
                f"{path}{first.name} and {path}{second.name} both control {min(shared)}{more} from epoch {epoch:g} "
                f"on; let one end before the other starts{other}."
            )


def _overlap(first: "Modifier", second: "Modifier") -> bool:
    if first.window == second.window:
        return True
    return max(first.window.start, second.window.start) < min(first.window.end, second.window.end)
