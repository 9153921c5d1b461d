import re
import shutil
import subprocess

import pytest

from tests.reports.runs import DENSE, failed, put
from winnow.reports.latex import latex
from winnow.reports.results import collect

SIGNS = r"a_b%c#d$e{f}g~h^i\j<k>|é€`" + "\x1b"


def text_of(folder):
    return latex(collect([folder]))


def test_a_table_is_whole(tmp_path):
    put(tmp_path / "a", **DENSE)
    put(tmp_path / "a2", **DENSE | {"metrics": {"accuracy": 0.92}}, seed=2)
    put(tmp_path / "b", metrics={"accuracy": 0.88})
    put(tmp_path / "c", metrics={"accuracy": 0.89}, seed=2)
    put(tmp_path / "d", task="qqp", **failed())
    text = text_of(tmp_path)
    opened, closed = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert opened == ["table", "tabular"] * 2
    assert closed == ["tabular", "table"] * 2
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    for columns, body in re.findall(r"begin{tabular}{(\w+)}\n(.*?)\\end{tabular}", text, re.DOTALL):
        assert {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")} == {len(columns) - 1}
    assert r"\textbf{0.9100 $\pm$ 0.0141}" in text
    assert r"0.8850 $\pm$ 0.0071" in text
    assert r"recovery, \%" in text


def test_every_sign_of_latex_is_escaped(tmp_path):
    put(tmp_path / "a", recipe=SIGNS)
    written = r"a\_b\%c\#d\$e\{f\}g\textasciitilde{}h\textasciicircum{}i\textbackslash{}j\textless{}k\textgreater{}"
    assert rf"{written}\textbar{{}}e?\`{{}}\textbackslash{{}}x1b & dense" in text_of(tmp_path)


def test_a_bracket_or_a_star_at_the_start_of_a_line_is_no_option_of_the_line_before(tmp_path):
    put(tmp_path / "a", recipe="[5pt]")
    put(tmp_path / "b", recipe="*")
    assert "{}[5pt] & dense" in text_of(tmp_path)
    assert "{}* & dense" in text_of(tmp_path)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no pdflatex")
def test_it_can_be_typeset(tmp_path):
    put(tmp_path / "a", **DENSE)
    put(tmp_path / "b", recipe=SIGNS)
    put(tmp_path / "c", recipe="[5pt]", task=SIGNS, model="*", **failed())
    (tmp_path / "report.tex").write_text(text_of(tmp_path))
    document = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}\input{report}\end{document}"
    (tmp_path / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
