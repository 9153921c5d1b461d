"""A report on the disk, in all its forms, and on the screen."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from winnow.errors import UserError, is_disk_full
from winnow.files.atomic import write_atomically
from winnow.reports.cells import Results
from winnow.reports.latex import latex
from winnow.reports.markdown import markdown
from winnow.reports.page import page
from winnow.reports.pareto_files import save_pareto
from winnow.reports.plain_tables import csv_text, run_table, table
from winnow.text import relative_path

SHOWN = 20  # sentences on the screen; the files hold all


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
    left_out = results.left_out[:SHOWN]
    if len(results.left_out) > SHOWN:
        left_out.append(f"{len(results.left_out) - SHOWN} more: {relative_path(files[0])}")
    listed = "\n".join(str(relative_path(path)) for path in files)
    return f"{markdown(dataclasses.replace(results, left_out=left_out))}\n{listed}"
