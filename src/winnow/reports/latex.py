"""A report's tables in LaTeX, for ``\\input`` in a paper that uses booktabs and graphicx."""

import re
import unicodedata
from collections.abc import Iterator

from winnow.reports.results import Results
from winnow.reports.tables import Cell, Table, tables

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\`{}",
    "±": r"$\pm$",
    "\N{EN DASH}": "--",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def latex(results: Results) -> str:
    """A table a task, scaled down if it is wider than the page."""
    head = "% \\usepackage{booktabs,graphicx} in the preamble, then \\input this file\n"
    return head + "".join("\n" + "\n".join(_lines(table)) + "\n" for table in tables(results))


def _lines(table: Table) -> Iterator[str]:
    yield r"\begin{table}"
    yield r"\centering"
    yield rf"\caption{{Results on {_escaped(table.title)}.}}"
    yield rf"\label{{tab:{re.sub(r'[^a-z0-9]+', '-', table.title.lower())}}}"
    yield r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    yield rf"\begin{{tabular}}{{{'l' * table.num_names}{'r' * (len(table.columns) - table.num_names)}}}"
    yield r"\toprule"
    yield " & ".join(_escaped(title) for title in table.columns) + r" \\"
    yield r"\midrule"
    for line in table.lines:
        yield " & ".join(_formatted(cell) for cell in line.cells) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}}"
    yield r"\end{table}"


def _formatted(cell: Cell) -> str:
    """Bold if it is the best; braces keep ``[`` and ``*`` from being read as options of the line before."""
    text = _escaped(cell.text)
    return rf"\textbf{{{text}}}" if cell.mark == "best" else f"{{}}{text}" if text.startswith(("[", "*")) else text


def _escaped(text: str) -> str:
    """ASCII that LaTeX prints: letters lose their accents, other characters become a question mark."""
    characters = unicodedata.normalize("NFKD", " ".join(text.split()))
    plain = (_ESCAPES.get(c, c if c.isascii() else "?") for c in characters if not unicodedata.combining(c))
    return "".join(character for character in plain if character.isprintable())
