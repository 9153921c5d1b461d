"""Translate recipes of SparseML into native ones: ``convert path=FILE_OR_FOLDER out=conf/recipe``."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from winnow.commands.hydra_errors import hydra_errors
from winnow.config.composed import plain_values
from winnow.config.section import Section
from winnow.errors import short_errors
from winnow.files.conf_folder import CONF
from winnow.plain_arguments import decoded, encoded
from winnow.sparseml.conversion import convert, recipe_files, summary
from winnow.sparseml.zoo import refuse_stub
from winnow.values import Text

_AS_TYPED = ("path", "out")  # read literally: Hydra's grammar does not apply


class Settings(Section):
    """``conf/convert.yaml`` explains each setting."""

    path: Text
    out: Text


def main() -> None:
    sys.argv[1:] = encoded(sys.argv[1:], _AS_TYPED)
    with hydra_errors():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="convert")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = Settings.read(decoded(plain_values(composed), _AS_TYPED))
        refuse_stub("path", settings.path)
        out = Path(settings.out)
        rows = convert(recipe_files(Path(settings.path), out), out)
        print(summary(rows))
    if any(row.status == "failed" for row in rows):
        sys.exit(1)
