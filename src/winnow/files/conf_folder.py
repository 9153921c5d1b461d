"""The folder of the shipped configurations: inside the installed package, or beside ``src/`` in the repository."""

from pathlib import Path

_INSTALLED = Path(__file__).parents[1] / "conf"

CONF = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[3] / "conf"
