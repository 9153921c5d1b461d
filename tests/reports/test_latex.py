import re

from src.reports.latex import latex
from src.reports.results import collect
from tests.reports.runs import DENSE, failed, put


def text_of(folder):
    return latex(collect([folder]))


def test_a_table_is_whole(tmp_path):
    put(tmp_path / "a", **DENSE)
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
    assert r"\textbf{0.9000}" in text
    assert r"0.8850 $\pm$ 0.0071" in text
    assert r"recovery, \%" in text


def test_every_sign_of_latex_is_escaped(tmp_path):
    put(tmp_path / "a", recipe=r"a_b%c#d$e{f}g~h^i\j<k>|é`")
    written = r"a\_b\%c\#d\$e\{f\}g\textasciitilde{}h\textasciicircum{}i\textbackslash{}j\textless{}k\textgreater{}"
    assert rf"{written}\textbar{{}}?\`{{}} & dense" in text_of(tmp_path)


def test_a_bracket_at_the_start_of_a_line_is_no_option_of_the_line_before(tmp_path):
    put(tmp_path / "a", recipe="[5pt]")
    assert "{}[5pt] & dense" in text_of(tmp_path)
