"""A report on the disk, in all its forms, and on the screen."""

from pathlib import Path

from winnow.errors import UserError, is_disk_full
from winnow.files.atomic import write_atomically
from winnow.reports.latex import latex
from winnow.reports.markdown import markdown
from winnow.reports.plain_tables import csv_text, group_table, run_table
from winnow.reports.results import Results


def write_report(results: Results, out: Path) -> list[Path]:
    """The report in all its forms, each file whole or not at all; other files in the folder stay."""
    from winnow.reports.cost_picture import save_pareto  # imports matplotlib
    from winnow.reports.page import page
    from winnow.reports.structure_picture import save_structures

    texts = {
        "report.md": markdown(results),
        "report.csv": csv_text(*group_table(results)),
        "rows.csv": csv_text(*run_table(results)),
        "report.tex": latex(results),
        "report.html": page(results),
    }
    try:
        for name, text in texts.items():
            write_atomically(out / name, text)
        pictures = [*save_pareto(results, out), *save_structures(results, out)]
    except OSError as error:
        if is_disk_full(error):
            raise
        raise UserError(
            f"{out}: nothing can be written there ({error.strerror}); name another folder by out=FOLDER."
        ) from error
    return [*(out / name for name in texts), *pictures]
