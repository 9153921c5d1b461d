"""Turn recipes of SparseML into native ones: ``python -m src.convert path=FILE_OR_FOLDER out=conf/recipe``."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from winnow.config.resolve import resolve
from winnow.errors import nearest_names, short_errors
from winnow.files.conf_folder import CONF
from winnow.sparseml.conversion import convert, recipe_files, summary
from winnow.sparseml.zoo import refuse_stub


def main() -> None:
    with nearest_names():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="convert")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = resolve(composed)
        refuse_stub("path", settings["path"])
        out = Path(settings["out"])
        rows = convert(recipe_files(Path(settings["path"]), out), out)
        print(summary(rows))
    if any(row.status == "failed" for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
