"""All results below some folders in one table: ``python -m src.report path=outputs/sweeps/...``."""

import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig

from winnow.command_line import SWEEP_PLAN
from winnow.config.resolve import resolve
from winnow.errors import UserError, nearest, nearest_names, short_errors
from winnow.files.conf_folder import CONF
from winnow.plain_arguments import unwrapped, wrapped
from winnow.reports.report_files import write_report
from winnow.reports.results import collect
from winnow.reports.terminal_report import MAX_SENTENCES, on_screen
from winnow.runs.sweep_status import progress

_PLAIN = ("path", "out")


def main() -> None:
    sys.argv[1:] = [word if word.startswith("path=[") else wrapped([word], _PLAIN)[0] for word in sys.argv[1:]]
    with nearest_names():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="report")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = unwrapped(resolve(composed), _PLAIN)
        paths = settings["path"] if isinstance(settings["path"], list) else [settings["path"]]
        folders = [_folder(str(path)) for path in paths]
        if not folders:
            raise UserError("path=[] names no folder.")
        default = folders[0] / "report" if len(folders) == 1 else Path("outputs/report")
        results = collect(folders)
        if not results.groups:
            raise UserError(_nothing(paths, results.left_out))
        files = write_report(results, Path(settings["out"] or default))
        print(on_screen(results, files))
        for sweep in (folder for folder in folders if (folder / SWEEP_PLAN).is_file()):
            print(f"\nsweep {sweep.name}: {progress(sweep)}")


def _folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if folder.is_dir() and path:
        return folder
    if folder.is_file():
        raise UserError(f"path={path} is a file; name its folder: path={folder.parent}")
    if "," in path:
        raise UserError(f"path={path}: there is no such folder; several are written as 'path=[{path}]'.")
    known = [each.name for each in folder.parent.iterdir() if each.is_dir()] if folder.parent.is_dir() else []
    raise UserError(f"path={path}: there is no such folder.{nearest(folder.name, known)}")


def _nothing(paths: Sequence[str], left_out: Sequence[str]) -> str:
    message = (
        f"path={', '.join(map(str, paths))}: no run has ended below this folder; name one that holds "
        "result.json files, such as outputs."
    )
    return "\n".join([message, *left_out[:MAX_SENTENCES]])


if __name__ == "__main__":
    main()
