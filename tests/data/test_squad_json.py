import json
import os

import pytest

from tests.toys import typed_data
from winnow.data.splits import load_splits
from winnow.data.squad_json import is_squad_json
from winnow.errors import UserError

ARTICLES = [
    {
        "title": "Mills",
        "paragraphs": [
            {
                "context": "the old mill",
                "qas": [
                    {"id": "a", "question": "what ?", "answers": [{"text": "mill", "answer_start": 8}]},
                    {"id": "b", "question": "who ?", "answers": [], "is_impossible": True,
                     "plausible_answers": [{"text": "old", "answer_start": 4}]},
                ],
            }
        ],
    }
]  # fmt: skip


def load(folder, content):
    path = folder / "train.json"
    path.write_text(content)
    return load_splits(typed_data("question_answering", files={"train": str(path)}))["train"]


@pytest.mark.parametrize("layout", [{"version": "v2.0", "data": ARTICLES}, {"data": ARTICLES, "version": "v2.0"}])
@pytest.mark.parametrize("indent", [None, 2])
def test_the_official_files_are_read_as_one_row_for_each_question(tmp_path, layout, indent):
    rows = load(tmp_path, json.dumps(layout, indent=indent))
    assert rows["id"][:] == ["a", "b"]
    assert rows["context"][:] == ["the old mill"] * 2
    assert rows["answers"][:] == [{"text": ["mill"], "answer_start": [8]}, {"text": [], "answer_start": []}]


def test_a_changed_file_is_read_again(tmp_path):
    assert len(load(tmp_path, json.dumps({"data": ARTICLES}))) == 2
    assert len(load(tmp_path, json.dumps({"data": ARTICLES * 2}))) == 4


def test_files_of_rows_are_not_squad_json(tmp_path):
    path = tmp_path / "x.json"
    for content in ('{"question": "?", "data": [1]}\n', '[{"question": "?"}]'):
        path.write_text(content)
        assert not is_squad_json(path)


def test_a_damaged_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"train\.json could not be read as json: KeyError: 'qas'"):
        load(tmp_path, json.dumps({"data": [{"paragraphs": [{"context": "x"}]}]}))


def test_reading_leaves_no_file_beside_the_data(tmp_path):
    load(tmp_path, json.dumps({"data": ARTICLES}))
    assert os.listdir(tmp_path) == ["train.json"]
