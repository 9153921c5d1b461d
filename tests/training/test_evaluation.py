import json

import pytest
from datasets import DatasetDict

from tests.toys import table, toy_data, toy_model, toy_task
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.files.atomic import compact_json
from winnow.training.evaluation import decide_threshold, evaluate
from winnow.training.task_data import TaskData


def test_each_answer_and_each_sentence_has_a_line():
    assert compact_json({"a": "Zürich", "b": ""}) == '{\n"a": "Zürich",\n"b": ""\n}\n'
    assert compact_json([["O", "B-place"], ["O"]]) == '[\n["O", "B-place"],\n["O"]\n]\n'


@pytest.mark.parametrize("content", [{}, [], {'a "quoted"\n key': [{"text": "中文", "start_logit": -1.5e-7}]}])
def test_it_is_plain_json(content):
    assert json.loads(compact_json(content)) == content


@pytest.mark.filterwarnings("ignore:The variance of predictions or target")
def test_a_correlation_with_equal_labels_has_no_value():
    task = toy_task(metrics=("pearson", "mean_squared_error"), regression=True)
    splits = DatasetDict({name: table(["a", "b"], [1.0, 1.0]) for name in ("train", "validation")})
    data = TaskData(task=task, splits=task.prepare(splits), tokenizer=tiny_tokenizer(), batch_size=2, eval_batch_size=2)
    metrics = evaluate(toy_model(task), data, data.validation)
    assert metrics["pearson"] is None
    assert metrics["mean_squared_error"] > 0


def test_the_metric_that_chooses_the_best_model_comes_first():
    task = toy_task(metrics=("f1", "accuracy"))
    data = toy_data(task=task)
    assert list(evaluate(toy_model(task), data, data.validation)) == ["f1", "accuracy"]


def test_a_tuned_threshold_goes_into_the_configuration_of_the_model_and_an_older_one_out_of_it():
    data = toy_data(task=toy_task(metrics=("f1",), threshold="tuned"))
    model = toy_model(data.task)
    model.config.decision_threshold = 0.9  # of a run that the model comes from
    found = decide_threshold(model, data)
    assert (
        found == {"decision_threshold": data.task.threshold} == {"decision_threshold": model.config.decision_threshold}
    )
    assert evaluate(model, data, data.validation)["f1"] > 0
    data.task.threshold, data.task.tunes_threshold = 0.5, False
    assert decide_threshold(model, data) == {}
    assert "decision_threshold" not in model.config.to_dict()
