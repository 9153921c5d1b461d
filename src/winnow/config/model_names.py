"""Models by the name that they have on the hub or on this machine: model=org/name, model=FOLDER.

Hydra reads such names through the config source `NamedModels`.
"""

import difflib
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

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


class NamedModels(ConfigSource):
    """The ``model`` section of a name: that of the shipped file with this name, else ``model.name`` alone is set."""

    @staticmethod
    def scheme() -> str:
        return "named"

    def load_config(self, config_path: str) -> ConfigResult:
        name = _model_of(config_path)
        if not self.is_config(config_path):
            raise ConfigLoadError(f"{config_path} names no model")
        shipped = _shipped()
        node = next((model for model in shipped.values() if model["name"] == name), {**shipped[_DEFAULT], "name": name})
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(node), header={"package": None})

    def is_config(self, config_path: str) -> bool:
        name = _model_of(config_path)
        return bool(name) and names_model(name)

    def is_group(self, config_path: str) -> bool:
        return False

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []

    def available(self) -> bool:
        return True


def _model_of(config_path: str) -> str:
    """The name of a model, '' for a file of another group."""
    group, _, name = config_path.removesuffix(".yaml").partition("/")
    return name if group == _GROUP else ""


class _SearchPath(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("winnow", f"{NamedModels.scheme()}://{_GROUP}")


def register_names() -> None:
    """Add the config source to every search path of Hydra."""
    Plugins.instance().register(NamedModels)
    Plugins.instance().register(_SearchPath)
