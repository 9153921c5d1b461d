"""Which weights are pruned together, and how many zeros a sparsity asks for. Plain Python, without torch."""

import re
from dataclasses import dataclass
from typing import Any

MAX_GROUP = 16


def zeros_count(numel: int, sparsity: float) -> int:
    """Number of zeros that ``sparsity`` asks of ``numel`` weights: half-even rounding, 768 * 768 at 0.8 -> 471,859."""
    return round(numel * sparsity)


@dataclass(frozen=True)
class Structure:
    """Blocks of weights in a row that are pruned as one, or groups of a row that keep so many weights each.

    Args:
        block: weights of a block, along the input dimension.
        kept: the N of N:M, weights kept of each group; 0 where there are no groups.
        group: the M of N:M, weights of a group.
    """

    block: int = 1
    kept: int = 0
    group: int = 0

    @classmethod
    def parse(cls, value: Any) -> "Structure":
        """``unstructured``, ``block4`` or ``[1,4]`` (as a list or as text), ``N:M``.

        Raises:
            ValueError: for anything else.
        """
        if isinstance(value, int) and not isinstance(value, bool):
            value = "{}:{}".format(*divmod(value, 60))  # YAML 1.1 takes 2:4 for two minutes and four seconds
        text = re.sub(r"\s", "", str(value))
        if text == "unstructured":
            return cls()
        if text in ("block4", "[1,4]"):
            return cls(block=4)
        n_of_m = re.fullmatch(r"(\d{1,2}):(\d{1,2})", text)
        if n_of_m:
            kept, group = map(int, n_of_m.groups())
            if 0 < kept < group <= MAX_GROUP:
                return cls(kept=kept, group=group)
        raise ValueError(f"not a structure: {value!r}")

    def __str__(self) -> str:
        if self.group:
            return f"{self.kept}:{self.group}"
        return f"block{self.block}" if self.block > 1 else "unstructured"

    @property
    def width(self) -> int:
        """What the rows of a matrix must divide by."""
        return self.group or self.block

    @property
    def sparsity(self) -> float | None:
        """The only sparsity that groups can have in the end; None without groups."""
        return 1.0 - self.kept / self.group if self.group else None

    def zeros(self, numel: int, sparsity: float) -> int:
        """Number of zeros that ``sparsity`` asks of ``numel`` weights; blocks are counted whole."""
        return self.block * zeros_count(numel // self.block, sparsity)


UNSTRUCTURED = Structure()
