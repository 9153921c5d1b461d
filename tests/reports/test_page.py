import json
import re
from html.parser import HTMLParser

import pytest

from tests.reports.made_up import COMMAND, TABLE, write_run, write_sweep
from tests.reports.runs import DENSE, failed, plan, published, put
from winnow.reports.cost_picture import save_pareto
from winnow.reports.page import page
from winnow.reports.results import collect

VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Tags that are closed in order, their attributes, the words."""

    def __init__(self, html):
        super().__init__()
        self.open, self.attributes, self.words = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, text):
        self.words.append(text)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return collect([write_sweep(tmp_path_factory.mktemp("sweep") / "a")])


@pytest.fixture(scope="module")
def html(results):
    return page(results)


def test_the_page_is_well_formed_and_has_a_language_and_a_title(html):
    reader = Reader(html)
    assert reader.open == []
    assert ("html", "lang", "en") in reader.attributes
    assert "<title>squad" in html


def test_every_group_has_a_line_failed_and_missing_ones_too(html):
    assert all(f'<th scope="row" class="word key">{recipe}</th>' in html for recipe in TABLE)
    assert html.count("<tr") >= 2 * len(TABLE)
    assert '<td class="word bad">2; failed: 1 of 3</td>' in html
    assert '<td class="bad">missing</td>' in html
    assert "loss is nan at step 812" in html


def test_published_figures_are_lines_of_the_table(html):
    assert re.search(r'<tr class="published">.*?SparseML.*?85\.5', html, re.DOTALL)


def test_the_best_is_marked(html):
    assert re.search(r'<td class="best">89\.\d\d ± ', html)


def test_it_names_the_command_of_the_sweep(html):
    assert f"<pre>{COMMAND}</pre>" in html


def test_it_needs_nothing_else(html):
    assert "<script" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    links = [value for _, name, value in Reader(html).attributes if name.endswith(("href", "src"))]
    assert all(link.startswith(("#", "data:image/svg+xml;base64,")) for link in links)


def test_every_picture_has_words_for_those_who_do_not_see_it(html):
    texts = [value for tag, name, value in Reader(html).attributes if (tag, name) == ("img", "alt")]
    assert len(texts) == html.count("<img") == 4 + len(TABLE)
    assert texts[0].startswith("f1 against nonzero parameters of 23 configurations. Pareto front: ")


def test_text_of_a_result_is_never_markup(tmp_path):
    evil = '<script>alert("$x$")</script>'
    put(tmp_path / "a", **DENSE, command=evil)
    put(tmp_path / "b", recipe=evil, teacher="</svg><b>", settings={evil: evil}, cell="b")
    put(tmp_path / "c", **failed(evil), model=evil, task='"><img src=x>')
    html = page(collect([tmp_path]))
    assert Reader(html).open == []
    assert "<script" not in html
    assert "<img src=x>" not in html


def test_a_folder_of_failed_runs_alone_has_a_page(tmp_path):
    put(tmp_path / "a", **failed())
    html = page(collect([tmp_path]))
    assert Reader(html).open == []
    assert "No run has a result yet." in html
    assert "failed: 1 of 1" in html


def test_every_recipe_has_its_curves_however_alike_their_names(tmp_path):
    for last in "ab":
        words = {"task": "squad", "model": "bert_base", "recipe": "prune72", "teacher": "none", "seed": 1}
        folder = write_run(tmp_path / last, words)
        row = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps(row | {"recipe": "long" * 10 + last, "cell": last}))
    html = page(collect([tmp_path]))
    assert html.count(f"<figcaption>{'long' * 10}") == 2


def test_a_run_outside_the_plan_of_its_sweep_names_its_own_command(tmp_path):
    put(tmp_path / "a", command="of the job")
    put(tmp_path / "b", seed=2, command="of an earlier job")
    plan(tmp_path, {"folder": "a"}, published=[published(recipe="prune90")])
    html = page(collect([tmp_path]))
    assert "<pre>python -m src.train -m ...</pre>\n<pre>of an earlier job</pre>" in html
    assert "configurations: 1; runs: 2 finished" in html  # a published line is none
    for seed in range(3, 6):
        put(tmp_path / str(seed), seed=seed, command=f"of run {seed}")
    html = page(collect([tmp_path]))
    assert "<pre>of run 3</pre>\n<details><summary>2 more commands</summary>\n<pre>of run 4</pre>" in html.replace(
        "<pre>of an earlier job</pre>\n", ""
    )


def test_earlier_commands_of_a_sweep_precede_its_last_if_they_planned_a_run(tmp_path):
    put(tmp_path / "a", command="of the job")
    put(tmp_path / "b", seed=2, command="of an earlier job")
    plan(tmp_path, {"folder": "a"}, earlier={"the first": ["a", "b"], "of nothing": ["c"], "odd": 5})
    html = page(collect([tmp_path]))
    assert (
        "<h2>Commands that made these runs</h2>\n<pre>the first</pre>\n<pre>python -m src.train -m ...</pre>\n<" in html
    )
    assert "of nothing" not in html


def test_several_tasks_are_sections_with_links(tmp_path):
    put(tmp_path / "a", **DENSE)
    put(tmp_path / "b", task="mnli", model="bert_base")
    html = page(collect([tmp_path]))
    assert '<a href="#task-2">mnli</a>' in html
    assert '<section id="task-2">\n<h2>mnli, bert_base</h2>' in html


def test_the_picture_for_papers_is_written_beside_it(results, tmp_path):
    assert [path.name for path in save_pareto(results, tmp_path)] == ["pareto.png", "pareto.pdf"]
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"pareto.png", "pareto.pdf"}


def test_without_two_points_there_is_no_such_picture(tmp_path):
    put(tmp_path / "a")
    assert save_pareto(collect([tmp_path]), tmp_path) == []
