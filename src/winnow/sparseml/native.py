"""Native modifiers as a translation makes them, on top of the shipped defaults."""

from dataclasses import dataclass
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from winnow.files.conf_folder import CONF

# The file in conf/modifier -> what a recipe calls it.
WORDS = {
    "gmp": "pruning",
    "movement": "pruning",
    "acdc": "pruning",
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
class Native:
    """A modifier of a native recipe.

    Args:
        file: in conf/modifier.
        settings: what differs from that file.
    """

    file: str
    settings: dict[str, Any]

    @property
    def word(self) -> str:
        """What a recipe calls it, before it is numbered."""
        return WORDS[self.file]

    @property
    def needs_teacher(self) -> bool:
        return self.file in ("distillation", "hidden_distillation")

    def node(self) -> DictConfig:
        """As Hydra would compose it: the shipped file under the settings."""
        return OmegaConf.create({**_shipped(self.file), **self.settings})

    def differing(self) -> dict[str, Any]:
        """The settings that are not those of the shipped file already."""
        shipped = _shipped(self.file)
        return {name: value for name, value in self.settings.items() if name not in shipped or shipped[name] != value}


def _shipped(file: str) -> dict[str, Any]:
    shipped: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(CONF / "modifier" / f"{file}.yaml"))  # type: ignore[assignment]
    parents = [name for name in shipped.pop("defaults", []) if name != "_self_"]
    return {key: value for name in parents for key, value in _shipped(name).items()} | shipped


def of_every_recipe() -> set[str]:
    """The keys of the modifiers that every recipe starts from, from conf/training/finetune.yaml."""
    defaults = yaml.safe_load((CONF / "training" / "finetune.yaml").read_text())["defaults"]
    keys = [key for entry in defaults if isinstance(entry, dict) for key in entry]
    return {key.removeprefix("/modifier@") for key in keys if key.startswith("/modifier@")}
