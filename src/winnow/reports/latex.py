"""A report's tables in LaTeX, for ``\\input`` in a paper that uses booktabs and graphicx."""

import re
import unicodedata
from collections.abc import Iterator

from winnow.reports.cells import Results
from winnow.reports.tables import Entry, Table, tables

_SIGNS = {
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
    """A table a task; one that is wider than the page is made smaller."""
    head = "% \\usepackage{booktabs,graphicx} in the preamble, then \\input this file\n"
    return head + "".join("\n" + "\n".join(_lines(table)) + "\n" for table in tables(results))


def _lines(table: Table) -> Iterator[str]:
    yield r"\begin{table}"
    yield r"\centering"
    yield rf"\caption{{Results on {_escaped(table.title)}.}}"
    yield rf"\label{{tab:{re.sub(r'[^a-z0-9]+', '-', table.title.lower())}}}"
    yield r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    yield rf"\begin{{tabular}}{{{'l' * table.words}{'r' * (len(table.columns) - table.words)}}}"
    yield r"\toprule"
    yield " & ".join(_escaped(title) for title in table.columns) + r" \\"
    yield r"\midrule"
    for line in table.lines:
        yield " & ".join(_marked(entry) for entry in line) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}}"
    yield r"\end{table}"


def _marked(entry: Entry) -> str:
    """Bold where it is the best; the braces keep ``[`` and ``*`` from being read as options of the line before."""
    text = _escaped(entry.text)
    return rf"\textbf{{{text}}}" if entry.best else f"{{}}{text}" if text.startswith(("[", "*")) else text


def _escaped(text: str) -> str:
    """Plain words; letters lose their accents, and a sign that pdfLaTeX may lack becomes a question mark."""
    signs = unicodedata.normalize("NFKD", " ".join(text.split()))
    plain = (_SIGNS.get(sign, sign if sign.isascii() else "?") for sign in signs if not unicodedata.combining(sign))
    return "".join(sign for sign in plain if sign.isprintable())
