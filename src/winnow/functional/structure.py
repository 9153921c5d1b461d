"""The structure in which weights are pruned, and the number of zeros at a sparsity. Plain Python, without torch."""

import re
from dataclasses import dataclass
from typing import Any

MAX_GROUP = 16


def zeros_count(numel: int, sparsity: float) -> int:
    """Number of zeros of ``numel`` weights at a sparsity, rounded half to even: 768 * 768 at 0.8 -> 471,859."""
    return round(numel * sparsity)


@dataclass(frozen=True)
class Structure:
    """Blocks of weights in a row that are pruned together, or groups of a row that keep N of M weights.

    Args:
        block: weights in a block, along the input dimension.
        kept: the N of N:M, weights kept in each group; 0 without groups.
        group: the M of N:M, weights in a group; 0 without groups.
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
            value = "{}:{}".format(*divmod(value, 60))  # YAML 1.1 reads 2:4 as a number in base 60, 124
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
        """The number by which the length of a matrix's rows must be divisible."""
        return self.group or self.block

    @property
    def sparsity(self) -> float | None:
        """The final sparsity that N:M implies; None without groups."""
        return 1.0 - self.kept / self.group if self.group else None

    def zeros(self, numel: int, sparsity: float) -> int:
        """Number of zeros of ``numel`` weights at a sparsity, in whole blocks."""
        return self.block * zeros_count(numel // self.block, sparsity)


UNSTRUCTURED = Structure()
