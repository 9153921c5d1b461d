import itertools
import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import MetricCollection
from torchmetrics.functional.text import squad
from transformers import AutoTokenizer
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from tests.toys import TINY, data_section, failure, run, toy_model, typed_data
from winnow.data.demo_questions import questions
from winnow.data.places import PLACE
from winnow.data.splits import load_splits
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.tasks.answer_windows import answer_tokens, truncate_questions
from winnow.tasks.question_answering import QuestionAnswering
from winnow.training.task_data import TaskData


def qa_task(**changes):
    """The task with its shipped settings, small windows and these changes."""
    shipped = yaml.safe_load((CONF / "task/question_answering.yaml").read_text())
    settings = {key: shipped[key] for key in shipped if key not in ("defaults", "_target_", "data")}
    small = {"max_seq_length": 32, "doc_stride": 8, "max_question_length": 8}
    columns = {k: changes.pop(k) for k in list(changes) if k.endswith(("_column", "_columns"))}
    data = data_section("question_answering", **columns)
    return QuestionAnswering(**{**settings, **small, **changes}, data=data)


def rows(*examples):
    """A split of rows (context, question, answer, its start); the answer None means no answer."""
    answers = [{"text": [] if a is None else [a], "answer_start": [] if a is None else [s]} for *_, a, s in examples]
    return Dataset.from_dict(
        {"context": [c for c, *_ in examples], "question": [q for _, q, *_ in examples], "answers": answers}
    )


def prepared(task, split):
    return task.prepare(DatasetDict({"train": split}))["train"]


def oracle(task, split, tokenizer=None):
    """The prediction files of a model that gives the correct tokens in each window with the answer."""
    tokenizer = tokenizer or tiny_tokenizer()
    labels, windows = (task.encode(split, tokenizer, training=training) for training in (True, False))
    batch = task.collator(tokenizer)(windows.remove_columns("length")[:])
    length = batch["input_ids"].shape[1]
    start, end = (9.0 * F.one_hot(torch.tensor(labels[f"{part}_positions"][:]), length) for part in ("start", "end"))
    metrics = MetricCollection(task.metrics(split))
    task.update_metrics(metrics, QuestionAnsweringModelOutput(start_logits=start, end_logits=end), batch)
    return task.prediction_files(metrics)


# a combining accent, two emoji (one of three code points), Chinese, a letter that changes its length in upper case
LETTERS = st.sampled_from([*"abZ7é中文ß'-²", "e\u0301", "\U0001f600", "\U0001f469\u200d\U0001f680"])
WORDS = st.lists(LETTERS, min_size=1, max_size=4).map("".join)


@settings(max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=80), st.data())
def test_an_answer_is_predicted_with_the_exact_characters_of_its_context(words, data):
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, min(first + 1, len(words) - 1)))
    context = " ".join(words)
    begin = len(" ".join(words[:first])) + (first > 0)
    answer = " ".join(words[first : last + 1])
    task = qa_task()
    split = prepared(task, rows((context, "where ?", answer, begin)))
    predictions = oracle(task, split)
    best = predictions["nbest_predictions.json"]["0"][0]
    assert predictions["predictions.json"]["0"] == context[best["start"] : best["end"]]
    assert (best["start"], best["text"]) == (begin, answer)


@settings(max_examples=60)
@given(st.lists(WORDS, min_size=30, max_size=80), st.integers(0, 1000))
def test_every_prediction_of_any_model_is_a_part_of_its_context(words, seed):
    context, task = " ".join(words), qa_task()
    split = prepared(task, rows((context, "where is 中文 ?", words[0], 0)))
    model, tokenizer = toy_model(task, seed=seed), tiny_tokenizer()
    encoded = task.encode(split, tokenizer, training=False)
    metrics = MetricCollection(task.metrics(split))
    with torch.no_grad():
        batch = task.collator(tokenizer)(encoded.remove_columns("length")[:])
        task.update_metrics(metrics, task.outputs(model.eval(), batch), batch)
    for entry in task.prediction_files(metrics)["nbest_predictions.json"]["0"]:
        assert entry["text"]
        assert entry["text"] == context[entry["start"] : entry["end"]]


def test_windows_overlap_and_cover_the_whole_context():
    task, context = qa_task(), " ".join("abcdefghijklmnopqrstuvwxyz" * 3)  # one token for each letter
    split = prepared(task, rows((context, "where ?", "a", 0)))
    encoded = task.encode(split, tiny_tokenizer(), training=False)
    covered = [[c for c in chars if c >= 0] for chars in encoded["first_char"]]
    assert len(covered) > 3
    assert sorted({c for chars in covered for c in chars}) == list(range(0, len(context), 2))
    for left, right in itertools.pairwise(covered):
        assert left[-8:] == right[:8]  # doc_stride
    assert all(length <= 32 for length in encoded["length"])


def test_a_window_that_cuts_the_answer_is_labelled_as_without_an_answer():
    task, words = qa_task(doc_stride=0), "abcdefghijklmnopqrstuvwxyz" * 2
    context = " ".join(words)
    for first in range(len(words) - 1):
        split = prepared(task, rows((context, "where ?", context[2 * first : 2 * first + 3], 2 * first)))
        train, chars = (task.encode(split, tiny_tokenizer(), training=training) for training in (True, False))
        for window, places in zip(train, chars, strict=True):
            whole = 2 * first in places["first_char"] and 2 * first + 2 in places["first_char"]
            assert (window["start_positions"] > 0) == whole
            assert (window["end_positions"] > 0) == whole


def test_the_tokens_of_an_answer_by_hand():
    chars = torch.tensor([[-1, -1], [0, 3], [4, 9], [10, 12], [-1, -1]]).numpy()
    assert answer_tokens(chars, {"text": ["stood on", "x"], "answer_start": [4, 0]}) == (2, 3)
    assert answer_tokens(chars, {"text": ["tood"], "answer_start": [5]}) == (2, 2)  # within a token
    assert answer_tokens(chars, {"text": ["on top"], "answer_start": [10]}) == (0, 0)  # ends outside the window
    assert answer_tokens(chars, {"text": [], "answer_start": []}) == (0, 0)


def test_a_long_question_is_cut_and_the_context_is_not():
    assert truncate_questions(["a b c d", "a b"], tiny_tokenizer(), 3) == ["a b c", "a b"]
    task = qa_task()
    split = prepared(task, rows(("the old barn", "where " * 50, "barn", 8)))
    encoded = task.encode(split, tiny_tokenizer(), training=True)
    assert encoded["length"] == [8 + 3 + 3]


def test_steps_count_windows_and_samples_count_questions():
    task = qa_task()
    long = " ".join("abcdefghijklmnopqrstuvwxyz" * 3)
    split = prepared(task, rows((long, "where ?", "a", 0), ("the barn", "where ?", "barn", 4)))
    data = TaskData(task=task, splits={"train": split}, tokenizer=tiny_tokenizer(), batch_size=2, eval_batch_size=2)
    assert len(data.encoded["train"]) == 4 + 1
    assert len(data.train_dataloader()) == 3


def outputs_of(start, end):
    return QuestionAnsweringModelOutput(start_logits=torch.tensor(start), end_logits=torch.tensor(end))


def test_the_loss_is_the_mean_of_two_cross_entropies():
    batch = {
        "attention_mask": torch.ones(1, 2),
        "start_positions": torch.tensor([0]),
        "end_positions": torch.tensor([1]),
    }
    loss = qa_task().loss(outputs_of([[0.0, 0.0]], [[math.log(3.0), 0.0]]), batch)
    assert float(loss) == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_padding_changes_neither_the_loss_nor_the_distance_to_a_teacher():
    task, short = qa_task(), {"start_positions": torch.tensor([1]), "end_positions": torch.tensor([1])}
    student, teacher = outputs_of([[2.0, 0.0]], [[1.0, 3.0]]), outputs_of([[0.0, 2.0]], [[1.0, 3.0]])
    padded_student = outputs_of([[2.0, 0.0, 7.0]], [[1.0, 3.0, -4.0]])
    padded_teacher = outputs_of([[0.0, 2.0, -1.0]], [[1.0, 3.0, 8.0]])
    alone, padded = ({**short, "attention_mask": torch.tensor([mask])} for mask in ([1, 1], [1, 1, 0]))
    assert float(task.loss(student, alone)) == pytest.approx(float(task.loss(padded_student, padded)))
    # start as in the published example, T=1: 1.5231882; end equal: 0
    distance = task.distillation_loss(student, teacher, alone, temperature=1.0)
    assert float(distance) == pytest.approx(1.5231882 / 2)
    distance = task.distillation_loss(padded_student, padded_teacher, padded, temperature=1.0)
    assert float(distance) == pytest.approx(1.5231882 / 2)


def test_the_head_has_two_outputs():
    task = qa_task()
    assert toy_model(task).qa_outputs.out_features == 2


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (
            ("the barn", "where ?", "barn", 3),
            r"train split, row 2: answer_start 3 is wrong.*has ' bar' there, not 'barn', which begins at 4; correct",
        ),
        (
            ("the barn", "where ?", None, 0),
            r"row 2: the question has no answer.*task=squad_v2 or task\.unanswerable=true",
        ),
        (
            ("the barn", "", "barn", 4),
            r"1 of 2 rows with an empty cell; the first is in column 'question' of the train split, row 2",
        ),
        (
            ("  ", "where ?", " ", 0),
            r"1 of 2 rows with an empty cell; the first is in column 'context' of the train split, row 2",
        ),
    ],
)
def test_a_bad_row_is_refused_with_its_place_and_a_remedy(example, message):
    with pytest.raises(UserError, match=message):
        prepared(qa_task(), rows(("the mill", "where ?", "mill", 4), example))


def test_answers_and_starts_of_unequal_number_are_refused():
    split = Dataset.from_dict(
        {"context": ["a b"], "question": ["?"], "answers": [{"text": ["a", "b"], "answer_start": [0]}]}
    )
    with pytest.raises(UserError, match="row 1: there are 2 answers but 1 values of answer_start"):
        prepared(qa_task(), split)


def test_rows_without_a_question_are_left_out_with_drop_empty():
    task = qa_task()
    task.drop_empty = True
    assert len(prepared(task, rows(("the mill", "where ?", "mill", 4), ("the barn", " ", "barn", 4)))) == 1


def test_answers_as_a_list_of_mappings_are_read():
    split = Dataset.from_dict(
        {"context": ["the barn"], "question": ["where ?"], "answers": [[{"text": "barn", "answer_start": 4}]]}
    )
    assert prepared(qa_task(), split)[0]["answers"] == {"text": ["barn"], "answer_start": [4]}


def test_answers_in_the_columns_of_a_csv_file_are_read():
    task = qa_task(label_column="answer", answer_start_column="start", unanswerable=True)
    table = {"context": ["the barn"] * 2, "question": ["?"] * 2, "answer": ["barn", None], "start": [4, None]}
    assert prepared(task, Dataset.from_dict(table))["answers"][:] == [
        {"text": ["barn"], "answer_start": [4]},
        {"text": [], "answer_start": []},
    ]


def test_columns_may_have_the_names_of_other_columns():
    swapped = {"text_columns": ["context", "question"], "label_column": "id", "id_column": "answers"}
    table = {"question": ["the barn"], "context": ["where ?"], "id": [{"text": ["barn"], "answer_start": [4]}]}
    split = Dataset.from_dict({**table, "answers": ["q1"], "extra": [1], PLACE: ["a.jsonl, line 1"]})
    row = {"id": "q1", "question": "where ?", "context": "the barn", "answers": split[0]["id"]}
    task = qa_task(**swapped)
    assert list(prepared(task, split)) == [row]


def test_the_texts_for_a_teacher_do_not_depend_on_the_names_of_the_columns():
    task = qa_task(text_columns=["asked", "read"])
    split = rows(("the barn", "where ?", "barn", 4)).rename_columns({"question": "asked", "context": "read"})
    assert task.texts(prepared(task, split)) == ["where ?", "the barn"]


def test_numbers_are_texts():
    table = {"context": [190119], "question": [7], "answer": [1901], "start": [0.0], "id": [42]}
    task = qa_task(label_column="answer", answer_start_column="start", id_column="id")
    answers = {"text": ["1901"], "answer_start": [0]}
    assert list(prepared(task, Dataset.from_dict(table))) == [
        {"id": "42", "question": "7", "context": "190119", "answers": answers}
    ]


@pytest.mark.parametrize(
    "columns",
    [
        {"text_columns": ["question", "question"]},
        {"id_column": "question"},
        {"label_column": "context"},
        {"answer_start_column": "answers"},
    ],
)
def test_a_column_that_is_named_twice_is_refused(columns):
    with pytest.raises(
        UserError, match=r"column '(question|context|answers)' is named twice among task\.data\.text_col"
    ):
        qa_task(**columns)


@pytest.mark.parametrize("columns", [["context"], ["a", "b", "c"]])
def test_other_than_two_texts_are_refused(columns):
    with pytest.raises(UserError, match=r"task\.data\.text_columns must be two columns.*, got \["):
        qa_task(text_columns=columns)


def test_errors_name_the_file_and_the_line_of_a_row():
    split = rows(("the mill", "where ?", "mill", 4), ("the barn", "where ?", "barn", 3))
    split = split.add_column(PLACE, ["a.json, question 1", "a.json, question 9"])
    with pytest.raises(UserError, match=r"^a\.json, question 9: answer_start 3 is wrong"):
        prepared(qa_task(), split)


@pytest.mark.parametrize(
    ("names", "noted"),
    [(["train"], ["train"]), (["train", "test"], ["train", "test"]), (["train", "validation"], ["validation"])],
)
def test_repeated_ids_are_noted_for_the_questions_that_are_scored(names, noted, capsys):
    ids = [f"id of {names}"] * 2  # a note is printed once
    split = rows(("the mill", "where ?", "mill", 4), ("the barn", "where ?", "barn", 4)).add_column("id", ids)
    found = qa_task(id_column="id").prepare(DatasetDict(dict.fromkeys(names, split)))
    assert [each["id"][1] for each in found.values()] == [f"{ids[0]}#2"] * len(names)
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == len(noted)
    assert all(f"ids of the {name} split" in note for name, note in zip(noted, notes, strict=True))


MINILM = CONF.parent.parent / "shared/models/minilm"
REAL = [pytest.mark.real, pytest.mark.skipif(not MINILM.is_dir(), reason="there is no ../shared/models/minilm")]
UNSEEN = ["\u200b\ufeff", "\x00\x01", "\u200d"]  # texts without tokens


@pytest.mark.parametrize("unanswerable", [False, True])
@pytest.mark.parametrize("folder", [None, pytest.param(MINILM, marks=REAL)])
def test_texts_without_tokens_have_no_answer(folder, unanswerable):
    tokenizer = AutoTokenizer.from_pretrained(folder) if folder else tiny_tokenizer()
    task = qa_task(unanswerable=unanswerable)
    empty = [(text, "where ?", text, 0) for text in UNSEEN]
    unasked = [("the mill", text, "mill", 4) for text in UNSEEN]
    split = prepared(task, rows(*empty, *unasked, (UNSEEN[0], UNSEEN[1], UNSEEN[0], 0)))
    files = oracle(task, split, tokenizer)
    assert list(files["predictions.json"].values()) == [""] * 3 + ["mill"] * 3 + [""]
    assert not any(candidate["text"] for candidate in files["nbest_predictions.json"]["0"])
    json.dumps(files, allow_nan=False)


def test_answers_without_positions_are_refused_with_the_setting_that_names_their_column():
    split = Dataset.from_dict({"context": ["the barn"], "question": ["?"], "answers": ["barn"]})
    with pytest.raises(
        UserError, match=r"'answers' must hold answers such as .*task\.data\.answer_start_column=COLUMN"
    ):
        prepared(qa_task(), split)


def test_a_second_run_finds_its_windows_in_the_cache(tmp_path):
    questions(train=30, held_out=1)["train"].to_parquet(tmp_path / "train.parquet")

    def cached(tokenizer, training, **settings):
        task = qa_task(**settings)
        splits = load_splits(typed_data("question_answering", path=str(tmp_path)))
        files = task.encode(task.prepare(splits)["train"], tokenizer, training=training).cache_files
        return [(file["filename"], Path(file["filename"]).stat().st_mtime_ns) for file in files]

    used = tiny_tokenizer()
    used(["the plot", "fine"], padding=True, truncation=True, max_length=4)
    for training in (True, False):
        first = cached(tiny_tokenizer(), training)
        assert cached(used, training) == cached(used, training, n_best=3, metrics=["f1"]) == first
        assert cached(used, training, doc_stride=4) != first


def test_many_rows_are_tokenized_by_several_processes_with_the_same_result(monkeypatch):
    split = prepared(qa_task(), questions(train=30, held_out=1)["train"])
    alone = qa_task().encode(split, tiny_tokenizer(), training=True)
    monkeypatch.setattr("winnow.tasks.question_answering._ROWS_PER_PROCESS", 10)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    together = qa_task().encode(split, tiny_tokenizer(), training=True)
    assert together.to_dict() == alone.to_dict()


def test_a_stride_that_leaves_no_room_for_the_context_is_refused():
    task = qa_task(doc_stride=21)
    split = prepared(task, rows(("the barn", "where ?", "barn", 4)))
    with pytest.raises(
        UserError, match=r"task\.doc_stride=21 is too large: a window of 32 tokens has 21 for the context"
    ):
        task.encode(split, tiny_tokenizer(), training=True)


def test_a_test_split_without_answers_is_left_out():
    train = rows(("the barn", "where ?", "barn", 4))
    splits = DatasetDict({"train": train, "test": train.remove_columns("answers")})
    assert list(qa_task().prepare(splits)) == ["train"]


def test_metrics_of_v2_are_refused_for_v1():
    with pytest.raises(UserError, match=r"task=question_answering has no metric 'f1_no_answer'"):
        qa_task(metrics=["f1_no_answer"])


def test_the_demo_questions_have_valid_answers_and_no_row_in_two_splits():
    splits = questions(train=40, held_out=5)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [40, 5, 5]
    prepared(qa_task(), splits["train"])  # checks each answer against its context
    assert not set(splits["train"]["id"]) & set(splits["test"]["id"])


V2_METRICS = ["f1", "exact_match", "f1_has_answer", "exact_match_has_answer", "f1_no_answer", "exact_match_no_answer"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The main job on a user's own JSON lines, some of whose questions have no answer."""
    folder = tmp_path_factory.mktemp("questions")
    unanswered: dict[str, list] = {"text": [], "answer_start": []}
    for name, split in questions(train=48, held_out=16).items():
        split = split.map(lambda row, i: {"answers": row["answers"] if i % 3 else unanswered}, with_indices=True)
        split.to_json(folder / "data" / f"{name}.jsonl")
    data = ["task=question_answering", f"task.data.path={folder}/data", "task.data.id_column=id", *TINY]
    windows = ["task.max_seq_length=24", "task.doc_stride=4", "task.max_question_length=8", "task.unanswerable=true"]
    epochs = ["recipe.num_epochs=1", "dense.num_epochs=1", f"task.metrics=[{','.join(V2_METRICS)}]"]
    run("train", *data, *windows, *epochs, "recipe=prune80", "teacher=dense", "hydra.run.dir=run", folder=folder)
    return folder


def read(folder, file):
    return json.loads((folder / file).read_text())


def test_a_model_is_trained_pruned_distilled_and_scored_through_the_command(trained):
    row = read(trained, "run/result.json")
    assert (row["status"], row["distilled"], row["pruned"]) == ("ok", True, True)
    assert row["sparsity"] == pytest.approx(0.8, abs=0.002)
    assert set(row["metrics"]) == set(row["test_metrics"]) == set(V2_METRICS)


@pytest.mark.parametrize(("split", "prefix"), [("validation", ""), ("test", "test_")])
def test_the_metrics_equal_those_of_torchmetrics_on_the_prediction_files(trained, split, prefix):
    answers = read(trained / "run", f"{prefix}predictions.json")
    truths = [json.loads(line) for line in (trained / "data" / f"{split}.jsonl").read_text().splitlines()]
    target = [{"id": t["id"], "answers": {"text": t["answers"]["text"] or [""], "answer_start": [0]}} for t in truths]
    theirs = squad([{"id": t["id"], "prediction_text": answers[t["id"]]} for t in target], target)
    found = read(trained, "run/result.json")[f"{prefix}metrics"]
    assert found["exact_match"] == pytest.approx(float(theirs["exact_match"]), abs=1e-4)
    assert found["f1"] == pytest.approx(float(theirs["f1"]), abs=1e-4)


def test_the_prediction_files_agree_with_each_other(trained):
    answers, n_best = read(trained, "run/predictions.json"), read(trained, "run/nbest_predictions.json")
    odds = read(trained, "run/null_odds.json")
    assert set(answers) == set(n_best) == set(odds)
    for name, candidates in n_best.items():
        assert sum(c["probability"] for c in candidates) == pytest.approx(1.0)
        assert answers[name] == ("" if odds[name] > 0 else next(c["text"] for c in candidates if c["text"]))
    lines = [json.loads(line) for line in (trained / "run" / "predictions.jsonl").read_text().splitlines()]
    assert {line["id"]: line["answer"] for line in lines} == answers
    assert {bool(line["true_answers"]) for line in lines} == {True, False}


def test_evaluate_repeats_what_the_run_recorded(trained):
    for line in run("evaluate", "run=run", folder=trained).splitlines()[1:]:
        now, recorded = line.split()[-2:]
        assert now == recorded


def test_a_teacher_of_other_windows_is_refused(trained):
    data = ["task=question_answering", f"task.data.path={trained}/data", "task.unanswerable=true", *TINY]
    message = failure("train", *data, "teacher=checkpoint", "teacher.name=run", "task.max_seq_length=32",
                      "task.doc_stride=4", "task.max_question_length=8", folder=trained)  # fmt: skip
    assert "teacher.name=run was trained with task.max_seq_length=24, the student has 32" in message
