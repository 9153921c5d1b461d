"""Put all results below some folders in one table: ``report path=outputs/sweeps/...``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import hydra
from omegaconf import DictConfig
from pydantic import BeforeValidator

from winnow.command_line import SWEEP_PLAN
from winnow.commands.hydra_errors import hydra_errors
from winnow.config.composed import plain_values
from winnow.config.section import Section
from winnow.errors import UserError, nearest, short_errors
from winnow.files.checksums import SUMS, find_damage
from winnow.files.conf_folder import CONF
from winnow.plain_arguments import decoded, encoded
from winnow.reports.report_files import write_report
from winnow.reports.results import collect
from winnow.reports.terminal_report import MAX_SENTENCES, on_screen
from winnow.runs.sweep_status import progress
from winnow.values import Expected, TextOrNull, YesNo, as_list

_AS_TYPED = ("path", "out")

Paths = Annotated[list[str], BeforeValidator(as_list), Expected("a folder or a list of folders")]


class Settings(Section):
    """``conf/report.yaml`` explains each setting."""

    path: Paths
    out: TextOrNull
    check: YesNo


def main() -> None:
    sys.argv[1:] = [word if _is_list(word) else encoded([word], _AS_TYPED)[0] for word in sys.argv[1:]]
    with hydra_errors():
        _main()


def _is_list(word: str) -> bool:
    return word.startswith("path=[") and not Path(word.removeprefix("path=")).exists()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="report")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = Settings.read(decoded(plain_values(composed), _AS_TYPED))
        folders = [_folder(path) for path in settings.path]
        if not folders:
            raise UserError("path=[] is empty; name a folder: path=FOLDER.")
        default = folders[0] / "report" if len(folders) == 1 else Path("outputs/report")
        results = collect(folders)
        if not results.groups:
            raise UserError(_nothing(settings.path, results.left_out))
        files = write_report(results, Path(settings.out or default))
        print(on_screen(results, files))
        for sweep in (folder for folder in folders if (folder / SWEEP_PLAN).is_file()):
            print(f"\nsweep {sweep.name}: {progress(sweep)}")
        if settings.check:
            _check_files(folders)


def _check_files(folders: Sequence[Path]) -> None:
    lists = sorted({path.resolve() for folder in folders for path in folder.rglob(SUMS)})
    damages = [damage for path in lists if (damage := find_damage(path.parent))]
    if damages:
        raise UserError("\n".join([f"{len(damages)} of {len(lists)} models and deployments are damaged.", *damages]))
    print(f"\n{len(lists)} models and deployments match their checksums.")


def _folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if folder.is_dir() and path:
        return folder
    if folder.is_file():
        raise UserError(f"path={path} is a file; name its folder: path={folder.parent}")
    if "," in path:
        raise UserError(f"path={path}: there is no such folder; write several folders as 'path=[{path}]'.")
    known = [each.name for each in folder.parent.iterdir() if each.is_dir()] if folder.parent.is_dir() else []
    raise UserError(f"path={path}: there is no such folder.{nearest(folder.name, known)}")


def _nothing(paths: Sequence[str], left_out: Sequence[str]) -> str:
    message = (
        f"path={', '.join(map(str, paths))}: no run has ended below this folder; name a folder with "
        "result.json files, such as outputs."
    )
    return "\n".join([message, *left_out[:MAX_SENTENCES]])
