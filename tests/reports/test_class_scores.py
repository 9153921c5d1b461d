import json

import numpy as np

from tests.reports.runs import DENSE, put
from winnow.reports.class_scores import class_scores, confusions, hardest_first
from winnow.reports.page import page
from winnow.reports.results import collect


def put_classes(folder, f1, confusion=None, **changes):
    """A run folder with a class report; the labels are a, b and so on."""
    put(folder, **changes)
    support = np.sum(confusion, axis=1).tolist() if confusion else [5] * len(f1)
    names = [chr(97 + i) for i in range(len(f1))]
    classes = [{"label": n, "f1": each, "support": s} for n, each, s in zip(names, f1, support, strict=True)]
    report = {"classes": classes} | ({"confusion_matrix": confusion} if confusion else {})
    (folder / "class_report.json").write_text(json.dumps(report))


def scores(folder):
    return {group.label: class_scores(group) for group in collect([folder]).groups}


def test_scores_are_means_and_confusions_sums_over_seeds(tmp_path):
    put_classes(tmp_path / "1", [0.5, 0.75, 0.0], [[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    put_classes(tmp_path / "2", [1.0, 0.25, 0.0], [[4, 0, 0], [6, 0, 0], [0, 0, 0]], seed=2)
    put_classes(tmp_path / "3", [0.25, 1.0, 0.0], [[4, 0, 0], [0, 6, 0], [0, 0, 0]], **DENSE)
    found = scores(tmp_path)
    assert found["prune80, dense"].f1 == {"a": 0.75, "b": 0.5, "c": 0.0}
    assert found["prune80, dense"].confusion.tolist() == [[7, 1, 0], [8, 4, 0], [0, 0, 0]]
    assert list(confusions(found["prune80, dense"], 5)) == ["b as a: 8 of 12", "a as b: 1 of 8"]
    assert hardest_first([*found.values()]) == {"a": 4, "b": 6}


def test_a_damaged_report_is_left_out(tmp_path):
    put(tmp_path / "1")
    for content in ("{", "[]", '{"classes": 5}', '{"classes": [], "confusion_matrix": [[1]]}', '{"classes": [{}]}'):
        (tmp_path / "1" / "class_report.json").write_text(content)
        assert scores(tmp_path) == {"prune80, dense": None}


def test_the_page_has_a_table_of_labels_and_a_picture_of_confusions(tmp_path):
    put_classes(tmp_path / "1", [0.5, 0.75], [[3, 1], [2, 4]])
    put_classes(tmp_path / "2", [i / 20 for i in range(14)], task="tags")  # several labels a row
    html = page(collect([tmp_path]))
    assert "Most frequent confusions: b as a: 2 of 6; a as b: 1 of 4." in html
    assert html.count("Confusion matrix of") == 1
    assert "<summary>2 more labels</summary>" in html
    assert 'style="--s:75%">75.0</td>' in html
