"""Turn recipes of SparseML into native ones: ``python -m src.convert path=FILE_OR_FOLDER out=conf/recipe``."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from src.config import resolve
from src.errors import nearest_names, short_errors
from src.recipes.conversion import convert, recipe_files, summary
from src.recipes.zoo import refuse_stub


@hydra.main(version_base="1.3", config_path="../conf", config_name="convert")
def main(composed: DictConfig) -> None:
    with short_errors():
        settings = resolve(composed)
        refuse_stub("path", settings["path"])
        out = Path(settings["out"])
        rows = convert(recipe_files(Path(settings["path"]), out), out)
        print(summary(rows))
    if any(row.status == "failed" for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    with nearest_names():
        main()
