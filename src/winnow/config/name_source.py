"""Configurations that are made from a name: the options of a config group that have no file."""

from typing import Any, ClassVar

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf


class NameSource(ConfigSource):
    """A config source of Hydra for one group; subclasses say which names it has, and what they mean."""

    group: ClassVar[str]

    def has(self, name: str) -> bool:
        raise NotImplementedError

    def content(self, name: str) -> dict[str, Any]:
        """The configuration of a name, as its file would have it."""
        raise NotImplementedError

    def load_config(self, config_path: str) -> ConfigResult:
        if not self.is_config(config_path):
            raise ConfigLoadError(f"{config_path} cannot be made from its name")
        node = OmegaConf.create(self.content(self._name(config_path)))
        return ConfigResult(self.provider, self.full_path(), node, header={"package": None})

    def is_config(self, config_path: str) -> bool:
        name = self._name(config_path)
        return bool(name) and self.has(name)

    def is_group(self, config_path: str) -> bool:
        return False  # the folders of the other sources list the options

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []

    def available(self) -> bool:
        return True

    def _name(self, config_path: str) -> str:
        """The name, which may have slashes; '' for a file of another group."""
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        return name if group == self.group else ""


def register(source: type[NameSource]) -> None:
    """Add a source to every search path of Hydra."""

    class SearchPath(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            search_path.append("winnow", f"{source.scheme()}://{source.group}")

    Plugins.instance().register(source)
    Plugins.instance().register(SearchPath)
