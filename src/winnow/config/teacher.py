"""The ``teacher`` section: which model the student learns from."""

from typing import Annotated, Literal

from pydantic import model_validator

from winnow.config.section import Section, broken_rule
from winnow.values import TextOrNull, one_of

Kind = Annotated[Literal["none", "self", "dense", "checkpoint"], one_of("none", "self", "dense", "checkpoint")]


class Teacher(Section):
    """``conf/teacher/*.yaml`` explain each kind; ``name`` belongs to ``checkpoint``."""

    kind: Kind
    name: TextOrNull = None

    @model_validator(mode="after")
    def _check_name(self) -> "Teacher":
        if self.kind == "checkpoint" and self.name is None:
            raise broken_rule("{path}.name must be given with teacher=checkpoint: add {path}.name=FOLDER.")
        if self.kind != "checkpoint" and self.name is not None:
            raise broken_rule(
                f"{{path}}.name={self.name} has no effect with {{path}}.kind={self.kind}; add teacher=checkpoint."
            )
        return self

    @property
    def label(self) -> str:
        """What result tables show: the name of a checkpoint, else the kind."""
        return self.name or self.kind
