import json

import pytest

from tests.reports.runs import lines, put
from winnow.reports.page import page
from winnow.reports.results import collect
from winnow.reports.structure_picture import Left, save_structures, structures_left


def put_structure(folder, heads, neurons, **changes):
    """A run folder with a model that has so many heads and neurons left in each layer."""
    put(folder, **changes)
    (folder / "model").mkdir()
    counts = {"heads": [list(range(n)) for n in heads], "neurons": [list(range(n)) for n in neurons]}
    (folder / "model" / "structure.json").write_text(json.dumps({**counts, "all_heads": 4, "all_neurons": 16}))
    return folder


@pytest.fixture
def folder(tmp_path):
    """Two seeds of a recipe with removed structures, and a run of a whole model."""
    put_structure(tmp_path / "a", [4, 0], [16, 3])
    put_structure(tmp_path / "b", [3, 0], [12, 5], seed=2)
    put(tmp_path / "c", recipe="prune90")
    return tmp_path


def test_what_is_left_is_a_mean_over_seeds_by_layer(folder):
    groups = lines(folder)
    assert structures_left(groups["prune80, dense"]) == Left([3.5, 0.0], [14.0, 4.0], 4, 16)
    assert structures_left(groups["prune90, dense"]) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"heads": [[0]]}', '{"heads": [[0]], "neurons": [[], []]}', "null"])
def test_a_damaged_file_has_no_picture(tmp_path, content):
    folder = put_structure(tmp_path / "a", [1], [1])
    (folder / "model" / "structure.json").write_text(content)
    (group,) = lines(tmp_path).values()
    assert structures_left(group) is None


def test_the_page_has_a_picture_with_words_for_each_configuration_that_lacks_some(folder):
    html = page(collect([folder]))
    assert html.count("<h3>Heads and neurons by layer</h3>") == 1
    assert html.count("Heads and neurons left in each layer of") == 1
    assert "Heads and neurons left in each layer of prune80, dense, first layer first: 3.5 and 14; 0 and 4." in html


def test_the_picture_for_papers_has_a_panel_for_each_of_them_and_is_left_out_without_any(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert save_structures(collect([folder / "c"]), out) == []
    assert [path.name for path in save_structures(collect([folder]), out)] == ["structure.png", "structure.svg"]
    svg = (out / "structure.svg").read_text()
    assert "prune80, dense" in svg
    assert "neurons of 16" in svg
    assert "prune90" not in svg
