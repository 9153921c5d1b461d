"""All results below some folders in one table: ``python -m src.report path=outputs/sweeps/...``."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig

from src.config import resolve
from src.errors import UserError, is_disk_full, nearest, nearest_names, short_errors
from src.plain_arguments import unwrapped, wrapped
from src.reports.latex import latex
from src.reports.markdown import markdown
from src.reports.page import page
from src.reports.pareto_files import save_pareto
from src.reports.plain_tables import csv_text, run_table
from src.reports.results import Results, collect, table
from src.reports.summary import shortened
from src.run_folder import write_atomically

_PLAIN = ("path", "out")
_SHOWN = 20  # sentences on the screen; the files hold all


def main() -> None:
    sys.argv[1:] = [word if word.startswith("path=[") else wrapped([word], _PLAIN)[0] for word in sys.argv[1:]]
    _main()


@hydra.main(version_base="1.3", config_path="../conf", config_name="report")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = unwrapped(resolve(composed), _PLAIN)
        paths = settings["path"] if isinstance(settings["path"], list) else [settings["path"]]
        folders = [_folder(str(path)) for path in paths]
        if not folders:
            raise UserError("path=[] names no folder.")
        default = folders[0] / "report" if len(folders) == 1 else Path("outputs/report")
        results = collect(folders)
        if not results.cells:
            raise UserError(_nothing(paths, results.left_out))
        files = write_report(results, Path(settings["out"] or default))
        print(on_screen(results, files))


def write_report(results: Results, out: Path) -> list[Path]:
    """The report in all its forms, each file whole or not at all.

    Args:
        results: as `collect` returns them.
        out: a folder; what else lies in it stays.
    """
    texts = {
        "report.md": markdown(results),
        "report.csv": csv_text(*table(results)),
        "rows.csv": csv_text(*run_table(results)),
        "report.tex": latex(results),
        "report.html": page(results),
    }
    try:
        for name, text in texts.items():
            write_atomically(out / name, text)
        pictures = save_pareto(results, out)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise UserError(
            f"{out}: nothing can be written there ({error.strerror}); name another folder by out=FOLDER."
        ) from error
    return [*(out / name for name in texts), *pictures]


def on_screen(results: Results, files: Sequence[Path]) -> str:
    """The tables, and where the files lie."""
    left_out = results.left_out[:_SHOWN]
    if len(results.left_out) > _SHOWN:
        left_out.append(f"{len(results.left_out) - _SHOWN} more: {shortened(files[0])}")
    listed = "\n".join(str(shortened(path)) for path in files)
    return f"{markdown(dataclasses.replace(results, left_out=left_out))}\n{listed}"


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
    return "\n".join([message, *left_out[:_SHOWN]])


if __name__ == "__main__":
    with nearest_names():
        main()
