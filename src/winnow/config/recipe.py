"""STUB"""

from typing import Any

from pydantic import ConfigDict

from winnow.config.section import Section
from winnow.values import *


class Optimizer(Section):
    learning_rate: Positive
    weight_decay: NotNegative
    max_grad_norm: NotNegative


class Recipe(Section):
    model_config = ConfigDict(extra="allow")
    name: Name
    num_epochs: int
    optimizer: Optimizer

    def plain(self) -> dict[str, Any]:
        return self.model_dump()

    @property
    def needs_teacher(self) -> bool:
        return any(isinstance(n, dict) and "teacher" in n for n in (self.model_extra or {}).values())

    def without_teacher(self) -> "Recipe":
        keep = {k: v for k, v in self.plain().items() if not (isinstance(v, dict) and "teacher" in v)}
        return Recipe.model_validate(keep)

    def items(self):
        return self.plain().items()

    def __getitem__(self, k):
        return self.plain()[k]
