import json
import math
import statistics

import pytest
import torch
from datasets import Dataset, DatasetDict

from tests.deployed import deploy, torch_pipeline
from tests.deployment.toys import STOCK_ENGINES
from winnow.data.demo import reviews
from winnow.data.demo_entities import tagged_sentences
from winnow.data.demo_questions import questions
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.deployment.pipeline import open_pipeline
from winnow.errors import UserError
from winnow.functional.entities import entities
from winnow.training.evaluation import evaluate
from winnow.training.task_data import TaskData

SENTIMENT = ["negative", "positive"]
TAGS = ["O", "B-person", "I-person", "B-place", "I-place"]
REVIEWS = [row["text"] for row in reviews(train=40, held_out=2)["train"]]
QUESTIONS = questions(train=30, held_out=2)["train"]
SHORT = {"max_seq_length": 64, "doc_stride": 8, "max_question_length": 16}
LONG = {"max_seq_length": 24, "doc_stride": 4, "max_question_length": 8, "max_answer_length": 6}  # several windows


def asked(split):
    return [{name: row[name] for name in ("id", "question", "context")} for row in split]


def evaluated(task, split, model, folder):
    """The files that the evaluation of a run writes."""
    data = TaskData(
        task=task, splits={"validation": split}, tokenizer=tiny_tokenizer(), batch_size=8, eval_batch_size=8
    )
    evaluate(model, data, ["validation"], folder)
    return {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}


def to_four_digits(answer):
    return json.loads(json.dumps(answer), parse_float=lambda number: round(float(number), 4))


def test_a_text_gets_the_label_with_the_largest_probability():
    classify = torch_pipeline("text_classification", SENTIMENT, top_k=2)
    answer = classify(REVIEWS[0])
    assert list(answer) == ["text", "label", "score", "scores"]
    assert answer["text"] == REVIEWS[0]
    assert next(iter(answer["scores"].items())) == (answer["label"], answer["score"])
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["score"] >= 0.5


def test_answers_to_a_list_keep_its_order_for_any_batch_size():
    answers = [torch_pipeline("text_classification", SENTIMENT, batch_size=size)(REVIEWS) for size in (1, 3, 64)]
    assert [row["text"] for row in answers[0]] == REVIEWS
    assert len({row["label"] for row in answers[0]}) == 2
    for other in answers[1:]:
        assert [row["label"] for row in other] == [row["label"] for row in answers[0]]
        assert [row["score"] for row in other] == pytest.approx([row["score"] for row in answers[0]], abs=2e-6)


def test_texts_of_like_length_share_a_batch():
    classify = torch_pipeline("text_classification", SENTIMENT, batch_size=2)
    classify(["the plot", "the plot was very good but dull", "the cast", "the story was rather silly but dull"])
    assert [shape[0] for shape in classify.engine.shapes] == [2, 2]
    assert classify.engine.shapes[1][1] == 4  # two short ones


def test_batches_of_long_texts_are_smaller_unless_a_size_is_given(monkeypatch):
    monkeypatch.setattr("winnow.deployment.pipeline._TOKENS", 16)
    free = torch_pipeline("text_classification", SENTIMENT)
    free(REVIEWS)
    assert {rows * tokens <= 16 for rows, tokens in free.engine.shapes} == {True}
    given = torch_pipeline("text_classification", SENTIMENT, batch_size=len(REVIEWS))
    given(REVIEWS)
    assert [shape[0] for shape in given.engine.shapes] == [len(REVIEWS)]


def test_the_second_text_of_a_pair_counts():
    compare = torch_pipeline("text_classification", SENTIMENT, {"text_columns": ["premise", "hypothesis"]}, top_k=2)
    one = compare({"text": "the plot was good", "text_pair": "the cast was good"})
    other = compare({"premise": "the plot was good", "hypothesis": "the cast was dull"})
    assert list(one)[:2] == ["text", "text_pair"]
    assert (one["text"], other["text_pair"]) == ("the plot was good", "the cast was dull")
    assert one["scores"] != other["scores"]


def test_a_multi_label_text_gets_all_labels_above_one_half():
    tag = torch_pipeline("text_classification", ["a", "b", "c"], multi_label=True, metrics=["f1"], top_k=3)
    answers = tag(REVIEWS)
    for row in answers:
        assert {each["label"] for each in row["labels"]} == {name for name, p in row["scores"].items() if p > 0.5}
    assert len({len(row["labels"]) for row in answers}) > 1


def test_a_regression_returns_the_output_itself():
    rate = torch_pipeline("text_classification", regression=True, metrics=["pearson"])
    encoded = tiny_tokenizer()(REVIEWS[0], return_tensors="pt")
    with torch.inference_mode():
        expected = float(rate.engine.model(**encoded).logits)
    assert rate(REVIEWS[0]) == {"text": REVIEWS[0], "value": pytest.approx(expected, abs=1e-5)}


def test_a_long_text_is_truncated_as_in_training_and_marked():
    classify = torch_pipeline("text_classification", SENTIMENT, max_length=8)
    short, long = classify(["the plot was good", "the plot was good but the cast was dull"])
    assert "truncated" not in short
    assert long["truncated"] is True
    assert long["score"] == classify("the plot was good but the")["score"]


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 0.3},
        {"long_texts": "windows", "stride": 2, "max_length": 8},
        {
            "long_texts": "windows",
            "stride": 0,
            "max_length": 6,
            "multi_label": True,
            "metrics": ["f1"],
            "threshold": 0.7,
        },
        {"regression": True, "metrics": ["pearson"], "max_length": 6},
    ],
)
def test_labels_equal_those_of_an_evaluation(tmp_path, settings):
    rows = reviews(train=24, held_out=2)["train"]
    labels = [SENTIMENT[label] for label in rows["label"]]
    if settings.get("multi_label"):
        labels = [[label] for label in labels]
    split = Dataset.from_dict({"text": rows["text"], "label": rows["label"] if "regression" in settings else labels})
    classify = torch_pipeline("text_classification", None if "regression" in settings else SENTIMENT, **settings)
    task = classify.deployment.task
    evaluated(task, task.prepare(DatasetDict({"train": split}))["train"], classify.engine.model, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == len(rows)
    for line, answer in zip(lines, classify(rows["text"]), strict=True):
        found = {name: value for name, value in line.items() if name in answer}
        assert to_four_digits(found) == to_four_digits(answer)


@pytest.mark.parametrize("windows", [SHORT, LONG])
@pytest.mark.parametrize("unanswerable", [False, True])
def test_answers_equal_those_of_an_evaluation(tmp_path, windows, unanswerable):
    ask = torch_pipeline("question_answering", data={"id_column": "id"}, **windows, unanswerable=unanswerable)
    task = ask.deployment.task
    split = task.prepare({"train": QUESTIONS})["train"]
    if unanswerable:  # half of the questions get no answer
        odds = evaluated(task, split, ask.engine.model, tmp_path)["null_odds.json"]
        task.null_score_diff_threshold = statistics.median(odds.values())
    files = evaluated(task, split, ask.engine.model, tmp_path)
    answers = ask(asked(QUESTIONS))
    assert {row["id"]: row["answer"] for row in answers} == files["predictions.json"]
    assert sum(not row["answer"] for row in answers) == (15 if unanswerable else 0)
    for row, question in zip(answers, QUESTIONS, strict=True):
        if row["answer"]:
            assert question["context"][row["start"] : row["end"]] == row["answer"]
        probabilities = [c["probability"] for c in files["nbest_predictions.json"][row["id"]]]
        assert any(math.isclose(row["score"], p, abs_tol=1e-5) for p in probabilities)


def test_the_best_answers_have_positions():
    ask = torch_pipeline("question_answering", top_k=3, **LONG)
    row = ask(asked(QUESTIONS)[0])
    assert len(row["answers"]) == 3
    assert row["answers"][0] == {name: row[name] for name in ("answer", "score", "start", "end")}


def test_no_answer_has_no_position():
    ask = torch_pipeline("question_answering", **SHORT, unanswerable=True, null_score_diff_threshold=-1e6)
    row = ask(asked(QUESTIONS)[0])
    assert (row["answer"], row["start"], row["end"]) == ("", None, None)


@pytest.mark.parametrize("max_length", [128, 8])
def test_entities_equal_those_of_an_evaluation_in_words_and_in_characters(tmp_path, max_length):
    split = tagged_sentences(train=30, held_out=2)
    tags = split["train"].features["ner_tags"].feature.names
    find = torch_pipeline("token_classification", tags, max_length=max_length)
    task = find.deployment.task
    prepared = task.prepare(split)["train"]
    assert task.labels == tags
    files = evaluated(task, prepared, find.engine.model, tmp_path)
    expected = [entities(tags) for tags in files["predictions.json"]]
    assert sum(map(len, expected)) > 30
    in_words = find([{"tokens": row["words"]} for row in prepared])
    assert [[(e["type"], e["start"], e["end"] - 1) for e in row["entities"]] for row in in_words] == expected
    in_text = find(["  ".join(row["words"]) for row in prepared])
    for row, words in zip(in_text, in_words, strict=True):
        assert [e["text"].split() for e in row["entities"]] == [e["text"].split() for e in words["entities"]]
        assert all(row["text"][e["start"] : e["end"]] == e["text"] for e in row["entities"])


def test_the_score_of_an_entity_is_the_mean_over_its_words():
    find = torch_pipeline("token_classification", TAGS)
    task = find.deployment.task
    windows = [{"word": torch.tensor([-100, 0, 1, 2]).numpy(), "tag": torch.tensor([0, 1, 2, 0]).numpy(),
                "probability": torch.tensor([0, 0.5, 0.7, 0.9]).numpy()}]  # fmt: skip
    row = task.row_prediction({"text": "ann lee sang"}, windows, None)
    assert row["entities"] == [{"type": "person", "text": "ann lee", "start": 0, "end": 7, "score": 0.6}]


def test_tags_without_entities_are_listed_by_word():
    tag = torch_pipeline("token_classification", ["noun", "verb"], metrics=["accuracy"])
    row = tag("the plot was good")
    assert [each["text"] for each in row["tags"]] == ["the", "plot", "was", "good"]
    assert {each["type"] for each in row["tags"]} <= {"noun", "verb"}


def test_a_text_is_split_at_punctuation_and_a_list_of_words_stays_as_it_is():
    tag = torch_pipeline("token_classification", ["noun", "verb"], metrics=["accuracy"])
    tags = tag('in  "Rome", don\'t')["tags"]
    assert [(each["text"], each["start"], each["end"]) for each in tags] == [
        ("in", 0, 2), ('"', 4, 5), ("Rome", 5, 9), ('"', 9, 10), (",", 10, 11), ("don't", 12, 17)
    ]  # fmt: skip
    assert [each["text"] for each in tag({"text": ["in", "Rome,"]})["tags"]] == ["in", "Rome,"]
    tag.deployment.task.split_punctuation = False  # as open_pipeline sets it
    assert [each["text"] for each in tag("in Rome,")["tags"]] == ["in", "Rome,"]


@pytest.mark.parametrize("family", ["text_classification", "question_answering", "token_classification"])
def test_a_graph_of_fixed_shape_gets_full_batches_of_that_shape(family):
    labels = {"text_classification": SENTIMENT, "token_classification": TAGS}.get(family)
    rows = asked(QUESTIONS)[:5] if family == "question_answering" else REVIEWS[:5]
    settings = {"max_question_length": 8, "doc_stride": 4} if family == "question_answering" else {}
    fixed = torch_pipeline(family, labels, fixed=(4, 32), **settings)
    fixed.deployment.task.max_length = 32  # as read_deployment does
    free = torch_pipeline(family, labels, **settings, **({"max_seq_length": 32} if settings else {"max_length": 32}))
    assert json.dumps(without_scores(fixed(rows))) == json.dumps(without_scores(free(rows)))
    assert set(fixed.engine.shapes) == {(4, 32)}


def without_scores(value):
    if isinstance(value, dict):
        return {name: without_scores(each) for name, each in value.items() if name != "score"}
    return [without_scores(each) for each in value] if isinstance(value, list) else value


def test_rows_are_read_only_as_far_as_answers_are_needed():
    read = []

    def rows():
        for i in range(10_000):
            read.append(i)
            yield REVIEWS[i % len(REVIEWS)]

    answers = torch_pipeline("text_classification", SENTIMENT, batch_size=4).stream(rows())
    next(answers)
    assert len(read) == 64
    answers = torch_pipeline("text_classification", SENTIMENT, batch_size=1).stream(rows())
    next(answers)
    assert len(read) == 65


def test_rows_before_an_invalid_one_are_answered():
    classify = torch_pipeline("text_classification", SENTIMENT)
    answers = classify.stream(["the plot", "the cast", "  ", "the end"])
    assert [next(answers)["text"] for _ in range(2)] == ["the plot", "the cast"]
    with pytest.raises(UserError, match="row 3: text is empty"):
        next(answers)


def test_a_text_of_control_characters_is_answered_too():
    assert torch_pipeline("text_classification", SENTIMENT)("\x01\x02")["label"] in SENTIMENT
    assert torch_pipeline("token_classification", TAGS)("\x01 \x02")["entities"] == []
    assert torch_pipeline("question_answering", **SHORT)({"question": "who", "context": "\x01"})["answer"] == ""


def test_without_rows_there_are_no_answers():
    assert torch_pipeline("text_classification", SENTIMENT)([]) == []


def test_top_k_is_refused_for_tasks_without_a_ranking():
    with pytest.raises(UserError, match="top_k=3 has no effect"):
        torch_pipeline("token_classification", TAGS, top_k=3)


def test_a_batch_size_other_than_that_of_the_graph_is_refused():
    with pytest.raises(UserError, match="batch_size=8: the graph has a fixed batch size of 4"):
        torch_pipeline("text_classification", SENTIMENT, fixed=(4, 32), batch_size=8)


def test_outputs_with_nan_are_refused():
    classify = torch_pipeline("text_classification", SENTIMENT)
    classify.engine.model.classifier.bias.data.fill_(math.nan)
    with pytest.raises(UserError, match="returned NaN or infinity"):
        classify("the plot")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return deploy(tmp_path_factory.mktemp("pipeline") / "deployment", "text_classification", SENTIMENT)


@pytest.mark.parametrize("engine", STOCK_ENGINES)
def test_a_deployment_gives_the_answers_of_its_model(folder, engine):
    pytest.importorskip(engine)
    expected = torch_pipeline("text_classification", SENTIMENT)(REVIEWS)
    found = open_pipeline(folder, engine, threads=1)(REVIEWS)
    assert [row["label"] for row in found] == [row["label"] for row in expected]
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], abs=1e-4)


def test_a_graph_with_other_inputs_than_config_json_is_refused(folder):
    path = folder / "config.json"
    before = path.read_text()
    path.write_text(before.replace(', "token_type_ids"]', "]"))
    try:
        with pytest.raises(
            UserError, match=r"the graph has the inputs .*token_type_ids, but config.json names input_ids, "
        ):
            open_pipeline(folder)
    finally:
        path.write_text(before)


def test_split_punctuation_is_refused_for_tasks_that_do_not_tag_words(folder):
    with pytest.raises(UserError, match="split_punctuation=true has no effect"):
        open_pipeline(folder, split_punctuation=True)


def test_rows_of_a_data_set_are_rows():
    split = Dataset.from_dict({"text": REVIEWS[:2], "id": [7, 8]})
    assert [row["id"] for row in torch_pipeline("text_classification", SENTIMENT)(split)] == [7, 8]
