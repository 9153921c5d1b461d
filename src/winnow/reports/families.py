"""Families: groups that differ in one number only, which a plot joins by a line."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from winnow.reports.groups import Group, short_names
from winnow.text import truncated

# Not the 18of30 of prune80_18of30, nor the block4 of prune80_block4_quant.
_NUMBERED = re.compile(r"(?:(?<=_)|^)(?!block)([a-z]+)(\d+)(?=_|$)", re.IGNORECASE)
_SCHEDULE = re.compile(r"(_\d+of\d+)?")
_NUMBER = re.compile(r"-?\d+(\.\d*)?(e-?\d+)?")


class Family(NamedTuple):
    """Groups of one teacher, ordered by their number; of a single group the name is its title."""

    name: str
    teacher: str
    groups: list[Group]
    numbers: list[str]  # of each group, such as 80; empty for a single group
    start: Group | None = None  # where their line begins: dense, or the kept layers before they are pruned


def families(groups: Sequence[Group]) -> list[Family]:
    """Each group of a task in one family, in the order of their first groups."""
    alike: dict[tuple[str, ...], list[tuple[list[str], Group]]] = {}
    for group in groups:
        name, numbers = _split(group)
        settings = (number.split("=")[0] for number in numbers[1:])
        alike.setdefault((name, group.teacher, group.model, str(len(numbers)), *settings), []).append((numbers, group))
    found = []
    for (name, teacher, *_), members in alike.items():
        if len(members) > 1 and len(members[0][0]) == 1:
            members.sort(key=lambda member: float(member[0][0].split("=")[-1]))
            found.append(
                Family(
                    name, teacher, [g for _, g in members], [n for (n,), _ in members], _start(members[0][1], groups)
                )
            )
        else:
            found += [Family(truncated(group.title, 32), teacher, [group], []) for _, group in members]
    return found


def _split(group: Group) -> tuple[str, list[str]]:
    """The name of the family, and the numbers in which its members may differ."""
    name, numbers = group.recipe, []
    if numbered := list(_NUMBERED.finditer(name)):
        last = numbered[-1]
        name, numbers = name[: last.end(1)] + name[last.end() :], [last[2]]
    settings = {f"{setting}={value}": value for setting, value in short_names(group.shown_settings).items()}
    numbers += [text for text, value in settings.items() if _NUMBER.fullmatch(value)]
    return ", ".join([name, *(text for text in settings if text not in numbers)]), numbers


def _start(group: Group, groups: Sequence[Group]) -> Group | None:
    """The group without what the family varies: before prune80 it is dense, before layers6_prune80 it is layers6."""
    numbered = list(_NUMBERED.finditer(group.recipe))
    if not numbered or group.shown_settings or not _SCHEDULE.fullmatch(group.recipe[numbered[-1].end() :]):
        return None
    recipe = group.recipe[: numbered[-1].start()].rstrip("_") or "dense"
    same = [g for g in groups if (g.model, g.recipe, g.teacher) == (group.model, recipe, group.teacher)]
    return same[0] if len(same) == 1 else None
