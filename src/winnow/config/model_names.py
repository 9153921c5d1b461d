"""Models by the name that they have on the hub or on this machine: model=org/name, model=FOLDER.

Hydra reads such names through the config source `NamedModels`.
"""

import difflib
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from winnow.config.name_source import NameSource
from winnow.errors import UserError
from winnow.files.conf_folder import CONF

_GROUP = "model"
_DEFAULT = "bert_base"  # its settings beside the name, as with model.name=
_ALIKE = 0.9  # from which a name without an owner is a misspelling of a file


def names_model(name: str) -> bool:
    """True for a name of the hub or a folder; False for one that is, or was meant to be, a file of conf/model.

    On the hub a name without an owner has dashes, as in ``bert-base-cased``; names of files have none.
    """
    shipped = _shipped()
    if name in shipped:
        return False
    if "/" in name or Path(name).is_dir() or name in (model["name"] for model in shipped.values()):
        return True
    return "-" in name and not difflib.get_close_matches(name.replace("-", "_"), shipped, cutoff=_ALIKE)


def check_is_read() -> None:
    """Refuse a name of the hub that a file in a folder of the user has too: Hydra searches that folder later.

    Raises:
        UserError: with the file to rename.
    """
    if not HydraConfig.initialized():
        return
    runtime = HydraConfig.get().runtime
    name = str(runtime.choices.get(_GROUP))
    for source in runtime.config_sources:
        file = Path(source.path) / _GROUP / f"{name}.yaml"
        if source.schema == "file" and file.is_file() and names_model(name):
            raise UserError(f"model={name} is a name of the hub, so {file} is not read; rename the file.")


def _shipped() -> dict[str, Any]:
    """The files of conf/model."""
    return {path.stem: OmegaConf.load(path) for path in (CONF / _GROUP).glob("*.yaml")}


class NamedModels(NameSource):
    """The ``model`` section of a name: that of the shipped file with this name, else ``model.name`` alone is set."""

    group = _GROUP

    @staticmethod
    def scheme() -> str:
        return "named"

    def has(self, name: str) -> bool:
        return names_model(name)

    def content(self, name: str) -> dict[str, Any]:
        shipped = _shipped()
        return next((model for model in shipped.values() if model["name"] == name), {**shipped[_DEFAULT], "name": name})
