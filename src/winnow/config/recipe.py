"""The recipe of a run: how long it trains, the optimizer, and the modifiers with their settings."""

import copy
from collections.abc import Container, Mapping
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from winnow.config.modifiers import ModifierNode, ModifierSettings
from winnow.config.section import Section, broken_rule
from winnow.values import MAX_EPOCHS, Expected, Name, NotNegative, Positive, TextOrNull

# Keys under which the shipped recipes have a modifier; none of them is a setting by itself.
_GROUPS = (
    *("distillation", "frozen", "hidden_distillation", "layers", "learning_rate", "pruning", "quantization"),
    *("structure", "weight_decay"),
)
_EPOCHS = f"a whole number, 1 to {MAX_EPOCHS:,}"


class Optimizer(Section):
    """Settings of AdamW; biases and norms are not decayed."""

    learning_rate: Positive  # the largest; the modifier learning_rate sets its course
    weight_decay: NotNegative = 0.01
    max_grad_norm: NotNegative = 1.0  # gradients are clipped to this norm; 0: never


class Recipe(Section):
    """A composed recipe. Every further key whose node names a class as ``_target_`` is a modifier."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ModifierNode]

    name: Name
    num_epochs: Annotated[int, Field(ge=0, le=MAX_EPOCHS), Expected(_EPOCHS)]  # 0 only in a recipe that calibrates
    optimizer: Optimizer
    path: TextOrNull = None  # of a recipe file of SparseML
    variables: dict[str, Any] = Field({})  # replace variables of that file

    _node: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def read(cls, node: Any, path: str = "recipe", typed: Container[str] = ()) -> Self:
        return super().read(node, path, typed)

    @property
    def modifiers(self) -> dict[str, ModifierSettings]:
        """The settings of each modifier by its key, in the order of the recipe."""
        return dict(self.__pydantic_extra__)

    @property
    def targets(self) -> dict[str, str]:
        """The full name of the class of each modifier, by its key."""
        return {name: self._node[name]["_target_"] for name in self.modifiers}

    @property
    def needs_teacher(self) -> bool:
        return any(settings.needs_teacher for settings in self.modifiers.values())

    @property
    def calibrates(self) -> bool:
        """True for a recipe that quantises a finished model and does not train."""
        return any(settings.calibrates for settings in self.modifiers.values())

    @property
    def calibration_files(self) -> dict[str, str]:
        """The file of texts of each modifier that names one, by its key."""
        files = {name: getattr(settings, "calibration", None) for name, settings in self.modifiers.items()}
        return {name: file for name, file in files.items() if isinstance(file, str)}

    def without_teacher(self) -> "Recipe":
        """The same recipe without the modifiers that need a teacher."""
        taught = {name for name, settings in self.modifiers.items() if settings.needs_teacher}
        return Recipe.read({name: node for name, node in self._node.items() if name not in taught})

    def plain(self) -> dict[str, Any]:
        """The plain values that the recipe was read from, as recipe.yaml shows them."""
        return copy.deepcopy(self._node)

    @model_validator(mode="wrap")
    @classmethod
    def _keep_node(cls, node: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        recipe = handler(node)
        if recipe is not node:
            recipe._node = copy.deepcopy(dict(node))
        return recipe

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, node: Any) -> Any:
        if not isinstance(node, Mapping):
            raise PydanticCustomError("not_a_section", "", {"known": list(cls.model_fields)})
        for name, value in node.items():
            if name in cls.model_fields or (isinstance(value, Mapping) and "_target_" in value):
                continue
            if name in _GROUPS and not isinstance(value, Mapping):
                raise broken_rule(f"{{path}}.{name} is a group of settings, got {value!r}.{_setting_in(node, name)}")
            modifiers = [key for key, value in node.items() if isinstance(value, Mapping) and "_target_" in value]
            known = [*cls.model_fields, *modifiers]
            raise PydanticCustomError("unknown_setting", "", {"name": str(name), "known": known})
        return node

    @model_validator(mode="after")
    def _check_epochs(self) -> Self:
        if self.calibrates and self.num_epochs:
            raise broken_rule(
                f"{{path}}.num_epochs is {self.num_epochs}, but a recipe that calibrates does not train; set it to 0."
            )
        if not self.num_epochs:
            acts = any(settings.acts_without_training for settings in self.modifiers.values())
            training = [name for name, settings in self.modifiers.items() if settings.needs_training]
            if acts and training:
                raise broken_rule(
                    f"{{path}}.num_epochs is 0, but {{path}}.{training[0]} needs training; leave it out with "
                    f"'~recipe.{training[0]}', or train for some epochs."
                )
            if not acts:
                raise broken_rule(f"{{path}}.num_epochs must be {_EPOCHS}, got 0.")
        for name, settings in self.modifiers.items():
            if problem := outside_training("{path}", name, settings, self.num_epochs):
                raise broken_rule(problem)
        return self


def outside_training(path: str, name: str, settings: ModifierSettings, num_epochs: int) -> str:
    """The message for a modifier whose window ends after the training; '' if it fits.

    Args:
        path: full name of the recipe's section.
        name: of the modifier in the recipe.
    """
    for boundary, epoch in settings.boundaries().items():
        if epoch > num_epochs:
            return (
                f"{path}.{name}.{boundary} is {epoch:g}, after the end of training at {num_epochs}; "
                f"raise {path}.num_epochs or lower {boundary}."
            )
    return ""


def _setting_in(node: Mapping[str, Any], name: str) -> str:
    """A hint at a setting of the same name within a group, such as optimizer.learning_rate."""
    groups = [group for group, value in node.items() if isinstance(value, Mapping) and name in value]
    return (
        f" Did you mean '{{path}}.{groups[0]}.{name}'?"
        if groups
        else f" Set one of them: {{path}}.{name}.SETTING=VALUE."
    )
