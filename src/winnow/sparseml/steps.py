"""A modifier of SparseML on its way to what it becomes."""

from dataclasses import dataclass, field
from typing import Any

from winnow.sparseml.expressions import RecipeError
from winnow.sparseml.native import Native


@dataclass
class Step:
    """One modifier of the file and what it becomes.

    Args:
        name: SparseML's.
        line: in the file.
        start: epoch of the whole training at which it begins; -1 means the first step.
        end: at which it ends; -1 means never.
        values: its parameters as we read them.
        written: its parameters as they stand in the file, expressions worked out.
        natives: the modifiers that take its place.
        became: what to say where there are none.
        notes: what is ignored, and what differs.
    """

    name: str
    line: int
    start: float
    end: float
    values: dict[str, Any]
    written: dict[str, Any]
    natives: list[Native] = field(default_factory=list)
    became: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def first_epoch(self) -> float:
        return max(self.start, 0)

    def take(self, file: str, **settings: Any) -> None:
        self.natives.append(Native(file, settings))

    def leave(self, became: str) -> None:
        """No native modifier takes its place, and why."""
        self.natives, self.became = [], became

    def note(self, text: str) -> None:
        self.notes.append(f"note: {text}")

    def differs(self, text: str) -> None:
        self.notes.append(f"differs: {text}")

    def ignores(self, text: str) -> None:
        self.notes.append(f"ignored: {text}")

    def error(self, text: str) -> RecipeError:
        return RecipeError(text, self.line)


def steps_into(steps: list[Step], *files: str) -> list[Step]:
    """The steps that became modifiers of a kind, by the epoch at which they begin."""
    found = [step for step in steps if any(native.file in files for native in step.natives)]
    return sorted(found, key=lambda step: step.first_epoch)
