import json

import pytest

from tests.toys import toy_data, toy_model, toy_task
from winnow.files.atomic import compact_json
from winnow.training.evaluation import evaluate


def test_each_answer_and_each_sentence_has_a_line():
    assert compact_json({"a": "Zürich", "b": ""}) == '{\n"a": "Zürich",\n"b": ""\n}\n'
    assert compact_json([["O", "B-place"], ["O"]]) == '[\n["O", "B-place"],\n["O"]\n]\n'


@pytest.mark.parametrize("content", [{}, [], {'a "quoted"\n key': [{"text": "中文", "start_logit": -1.5e-7}]}])
def test_it_is_plain_json(content):
    assert json.loads(compact_json(content)) == content


def test_the_metric_that_chooses_the_best_model_comes_first():
    task = toy_task(metrics=("f1", "accuracy"))
    data = toy_data(task=task)
    assert list(evaluate(toy_model(task), data, data.validation)) == ["f1", "accuracy"]
