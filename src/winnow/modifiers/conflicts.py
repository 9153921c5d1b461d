"""Modifiers that cannot go together in one recipe, found before anything is trained."""

import itertools
from collections.abc import Sequence

from winnow.errors import UserError
from winnow.modifiers.modifier import Modifier


def refuse_conflicts(modifiers: Sequence[Modifier]) -> None:
    """Refuse two modifiers that would rule the same thing at the same time.

    Args:
        modifiers: of one recipe, after ``match`` and ``begin``. What each rules are its parameters' masks, the learning
            rate and the like (``Modifier.rules``); windows that only touch do not overlap.
    """
    for first, second in itertools.combinations(modifiers, 2):
        shared = first.rules() & second.rules()
        if shared and _overlap(first, second):
            more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            other = ", or give them different params" if second.matched() else ""
            epoch = first.clock.epoch(max(first.window.start, second.window.start))
            raise UserError(
                f"recipe.{first.name} and recipe.{second.name} both rule {min(shared)}{more} from epoch {epoch:g} on; "
                f"let one end before the other starts{other}."
            )


def _overlap(first: Modifier, second: Modifier) -> bool:
    if first.window == second.window:
        return True
    return max(first.window.start, second.window.start) < min(first.window.end, second.window.end)
