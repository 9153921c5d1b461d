"""Native modifiers made by a translation, on top of the shipped defaults."""

from dataclasses import dataclass
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf

from winnow.files.conf_folder import CONF

# File in conf/modifier -> key of such a modifier in a recipe.
RECIPE_KEYS = {
    "gmp": "pruning",
    "movement": "pruning",
    "acdc": "pruning",
    "obs": "pruning",
    "constant": "pruning",
    "layers": "layers",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "frozen": "frozen",
    "distillation": "distillation",
    "hidden_distillation": "hidden_distillation",
    "quantization": "quantization",
}


@dataclass
class NativeModifier:
    """A modifier of a native recipe.

    Args:
        file: in conf/modifier.
        settings: those that the translation sets.
    """

    file: str
    settings: dict[str, Any]

    @property
    def key(self) -> str:
        """Its key in a recipe, without a number."""
        return RECIPE_KEYS[self.file]

    @property
    def needs_teacher(self) -> bool:
        return self.file in ("distillation", "hidden_distillation")

    def node(self) -> DictConfig:
        """The node that Hydra would compose: the shipped file, overridden by the settings."""
        return OmegaConf.create({**_shipped(self.file), **self.settings})

    def differing(self) -> dict[str, Any]:
        """The settings that differ from the shipped file."""
        shipped = _shipped(self.file)
        return {name: value for name, value in self.settings.items() if name not in shipped or shipped[name] != value}


def _shipped(file: str) -> dict[str, Any]:
    shipped = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(CONF / "modifier" / f"{file}.yaml")))
    parents = [name for name in shipped.pop("defaults", []) if name != "_self_"]
    return {key: value for name in parents for key, value in _shipped(name).items()} | shipped


def default_keys() -> set[str]:
    """The keys of the modifiers that every recipe inherits from conf/training/finetune.yaml."""
    defaults = yaml.safe_load((CONF / "training" / "finetune.yaml").read_text())["defaults"]
    keys = [key for entry in defaults if isinstance(entry, dict) for key in entry]
    return {key.removeprefix("/modifier@") for key in keys if key.startswith("/modifier@")}
