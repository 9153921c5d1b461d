"""Families: groups that differ in one number only, which a plot joins by a line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from winnow.reports.groups import Group, short_names
from winnow.text import truncated

_NUMBERED = re.compile(r"(?:(?<=_)|^)([a-z]+)(\d+)(?=_|$)", re.IGNORECASE)  # not the 18of30 of prune80_18of30
_SCHEDULE = re.compile(r"(_\d+of\d+)?")
_NUMBER = re.compile(r"-?\d+(\.\d*)?(e-?\d+)?")


@dataclass(frozen=True)
class Family:
    """Groups of one teacher, ordered by their number.

    Args:
        name: what they share, such as ``prune``; of a single group its title.
        groups: at least one.
        numbers: of each group as text, such as ``80``; empty for a single group.
        start: the group from which their line begins: dense, or the kept layers before they are pruned.
    """

    name: str
    groups: tuple[Group, ...]
    numbers: tuple[str, ...] = ()
    start: Group | None = None

    @property
    def teacher(self) -> str:
        return self.groups[0].teacher

    @property
    def line(self) -> tuple[Group, ...]:
        return (self.start, *self.groups) if self.start else self.groups


def families(groups: Sequence[Group]) -> list[Family]:
    """Each group of a task in one family, in the order of their first groups."""
    alike: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        name, numbers = _split(group)
        varied = (name, *(number.split("=")[0] for number in numbers[1:]))
        alike.setdefault((group.model, group.teacher, *varied, str(len(numbers))), []).append(group)
    return [family for members in alike.values() for family in _families_of(members, groups)]


def _families_of(members: Sequence[Group], groups: Sequence[Group]) -> list[Family]:
    """One family if the members have one number each, else a family for each."""
    name, _ = _split(members[0])
    numbers = [_split(group)[1] for group in members]
    if len(members) == 1 or any(len(each) != 1 for each in numbers):
        return [Family(truncated(group.title, 32), (group,)) for group in members]
    pairs = sorted(
        ((number, group) for (number,), group in zip(numbers, members, strict=True)),
        key=lambda pair: float(pair[0].split("=")[-1]),
    )
    return [Family(name, tuple(g for _, g in pairs), tuple(n for n, _ in pairs), _start(members[0], groups))]


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
