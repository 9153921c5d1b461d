"""A wheel carries the compiled sparse engine if dist/ has it (``make wheel``), and is then for this kind of machine."""

import platform
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_LIBRARY = "libwinnow_sparse.so"


class SparseEngine(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        library = Path(self.root) / "dist" / _LIBRARY
        if version == "standard" and library.is_file():
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-linux_{platform.machine()}"
            build_data["force_include"][str(library)] = f"winnow/engine/{_LIBRARY}"
