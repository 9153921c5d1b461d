"""One modifier of SparseML on its way to native modifiers."""

from dataclasses import dataclass, field
from typing import Any

from winnow.sparseml.native import NativeModifier
from winnow.sparseml.recipe_error import RecipeError


@dataclass
class ModifierTranslation:
    """One modifier of the file, and the native modifiers that replace it.

    Args:
        name: SparseML's.
        line: in the file.
        start: first epoch, counted over the whole training; -1 means the first step.
        end: last epoch, counted likewise; -1 means never.
        values: its parameters, checked and converted.
        written: its parameters as in the file, with expressions evaluated.
        natives: the modifiers that replace it.
        without_natives: for the report, why there are none.
        notes: for the report, what is ignored and what differs.
    """

    name: str
    line: int
    start: float
    end: float
    values: dict[str, Any]
    written: dict[str, Any]
    natives: list[NativeModifier] = field(default_factory=list)
    without_natives: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def first_epoch(self) -> float:
        return max(self.start, 0)

    @property
    def stage_shift(self) -> float:
        """Epochs by which the stage of the modifier was moved."""
        written: float = self.values.get("start_epoch", -1)
        return self.first_epoch - max(written, 0)

    def add(self, file: str, **settings: Any) -> None:
        """Add a native modifier."""
        self.natives.append(NativeModifier(file, settings))

    def remove_natives(self, reason: str) -> None:
        self.natives, self.without_natives = [], reason

    def note(self, text: str) -> None:
        self.notes.append(f"note: {text}")

    def differs(self, text: str) -> None:
        self.notes.append(f"differs: {text}")

    def ignores(self, text: str) -> None:
        self.notes.append(f"ignored: {text}")

    def error(self, text: str) -> RecipeError:
        return RecipeError(text, self.line)


def translated_to(modifiers: list[ModifierTranslation], *files: str) -> list[ModifierTranslation]:
    """The modifiers that became native ones of these files, by their first epoch."""
    found = [modifier for modifier in modifiers if any(native.file in files for native in modifier.natives)]
    return sorted(found, key=lambda modifier: modifier.first_epoch)
