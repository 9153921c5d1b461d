"""Real data and a real encoder through the public commands; skipped if ``../shared`` has no data or no encoder."""

import functools
import json
import math

import pytest
import torch
from datasets import DatasetDict, load_dataset
from safetensors.torch import load_file
from seqeval import metrics as seqeval
from torchmetrics.functional.text import squad
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.tasks.test_question_answering import oracle, qa_task
from tests.toys import failure, run
from winnow.files.conf_folder import CONF
from winnow.functional.structure import zeros_count

SHARED = CONF.parent.parent / "shared"
DATA, MINILM = SHARED / "data", SHARED / "models" / "minilm"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="there are no real data in ../shared/data"),
    pytest.mark.skipif(not MINILM.is_dir(), reason="there is no real encoder in ../shared/models/minilm"),
]

EVAL_ROWS = 24
SMALL = ["task.data.max_train_samples=16", f"task.data.max_eval_samples={EVAL_ROWS}", "recipe.num_epochs=1",
         "dense.num_epochs=1"]  # fmt: skip
MODEL = ["model=minilm", f"model.name={MINILM}", "trainer.accelerator=cpu", "trainer.keep_checkpoints=false"]


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def assert_exactly_sparse(folder, sparsity):
    weights = load_file(folder / "model" / "model.safetensors")
    matrices = {name: w for name, w in weights.items() if ".layer." in name and w.ndim == 2}
    assert len(matrices) == 36
    for name, weight in matrices.items():
        assert int((weight == 0).sum()) == zeros_count(weight.numel(), sparsity), name


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trains and prunes a GLUE task once; returns the run folder."""
    place = tmp_path_factory.mktemp("glue")

    @functools.cache
    def folder(task):
        run("train", f"task={task}", f"task.data.path={DATA}/glue/{task}", *MODEL, *SMALL, "recipe=gmp80",
            "teacher=none", f"hydra.run.dir={task}", folder=place)  # fmt: skip
        return place / task

    return folder


@pytest.mark.parametrize(
    ("task", "metrics"),
    [
        ("mrpc", {"accuracy", "f1"}),
        ("cola", {"matthews_correlation", "accuracy"}),
        ("stsb", {"pearson", "spearmanr"}),
        ("rte", {"accuracy"}),
        ("wnli", {"accuracy"}),
        ("qnli", {"accuracy"}),
        ("mnli", {"accuracy", "accuracy_mismatched"}),
    ],
)
def test_a_glue_task_is_trained_pruned_and_scored_by_the_metrics_of_the_task(trained, task, metrics, capfd):
    folder = trained(task)
    row = result_of(folder)
    assert row["status"] == "ok"
    assert set(row["metrics"]) == metrics
    assert all(math.isfinite(value) and -1 <= value <= 1 for value in row["metrics"].values())
    assert row["test_metrics"] == {}
    assert row["sparsity"] == pytest.approx(0.8, abs=1e-5)
    assert_exactly_sparse(folder, 0.8)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_the_main_job_runs_on_sst2_and_its_model_opens_with_plain_transformers(tmp_path):
    data = ["task=sst2", f"task.data.path={DATA}/glue/sst2"]
    output = run(
        "train", *data, *MODEL, *SMALL, "recipe=prune80", "recipe.pruning.initial_sparsity=0.8", "teacher=dense",
        "hydra.run.dir=sst2", folder=tmp_path,
    )  # fmt: skip
    assert "it is trained first" in output
    row = result_of(tmp_path / "sst2")
    assert (row["teacher"], row["distilled"], row["pruned"]) == ("dense", True, True)
    assert_exactly_sparse(tmp_path / "sst2", 0.8)

    file = next((DATA / "glue" / "sst2").glob("validation*.parquet"))
    rows = load_dataset("parquet", data_files=str(file), split="train").shuffle(seed=0).select(range(EVAL_ROWS))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "sst2" / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "sst2" / "model")
    with torch.no_grad():
        logits = model(**tokenizer(list(rows["sentence"]), padding=True, return_tensors="pt")).logits
    accuracy = (logits.argmax(-1) == torch.tensor(rows["label"])).float().mean()
    assert row["metrics"]["accuracy"] == pytest.approx(float(accuracy), abs=1e-6)

    printed = run("evaluate", "run=sst2", folder=tmp_path)
    measured, recorded = printed.splitlines()[-1].split()[-2:]
    assert measured == recorded == f"{row['metrics']['accuracy']:.6f}"


def test_banking77_trains_from_csv_files_with_overrides_only(tmp_path):
    run("train", "task=text_classification", f"task.data.path={DATA}/banking77/csv", "task.data.label_column=category",
        *MODEL, *SMALL, "recipe=gmp90", "teacher=none", "hydra.run.dir=banking", folder=tmp_path)  # fmt: skip
    row = result_of(tmp_path / "banking")
    assert set(row["metrics"]) == set(row["test_metrics"]) == {"accuracy", "f1"}
    config = json.loads((tmp_path / "banking" / "model" / "config.json").read_text())
    assert len(config["id2label"]) == 77
    assert "card_arrival" in config["label2id"]
    assert_exactly_sparse(tmp_path / "banking", 0.9)


@pytest.mark.slow
def test_entities_of_wnut17_are_scored_as_seqeval_scores_the_predictions(tmp_path):
    """The settings are such that the model learns to find some entities."""
    overrides = ["task=wnut17", f"task.data.path={DATA}/wnut_17", *MODEL, "task.data.max_eval_samples=100"]
    run("train", *overrides, "task.data.max_train_samples=256", "task.data.batch_size=8", "recipe=oneshot20",
        "teacher=none", "recipe.num_epochs=3", "recipe.optimizer.learning_rate=4e-4", "task.max_length=16",
        "hydra.run.dir=wnut17", folder=tmp_path)  # fmt: skip
    row = result_of(tmp_path / "wnut17")
    assert_exactly_sparse(tmp_path / "wnut17", 0.2)

    for split, file, recorded in (
        ("validation", "predictions", "metrics"),
        ("test", "test_predictions", "test_metrics"),
    ):
        parquet = str(next((DATA / "wnut_17").glob(f"{split}*.parquet")))
        rows = load_dataset("parquet", data_files=parquet, split="train").shuffle(seed=0).select(range(100))
        true = [[rows.features["ner_tags"].feature.int2str(tag) for tag in tags] for tags in rows["ner_tags"]]
        predicted = json.loads((tmp_path / "wnut17" / f"{file}.json").read_text())
        assert 0 < row[recorded]["f1"] < 1
        assert row[recorded] == {
            "f1": pytest.approx(seqeval.f1_score(true, predicted), abs=1e-9),
            "precision": pytest.approx(seqeval.precision_score(true, predicted), abs=1e-9),
            "recall": pytest.approx(seqeval.recall_score(true, predicted), abs=1e-9),
            "accuracy": pytest.approx(seqeval.accuracy_score(true, predicted), abs=1e-9),
        }


def test_a_teacher_of_another_task_is_refused(trained, tmp_path):
    other = trained("mnli")
    message = failure("train", "task=sst2", f"task.data.path={DATA}/glue/sst2", *MODEL, *SMALL, "teacher=checkpoint",
                      f"teacher.name={other}", "hydra.run.dir=refused", folder=tmp_path)  # fmt: skip
    assert f"teacher.name={other} has 3 outputs" in message
    assert "but sst2 has 2" in message


def test_an_encoder_without_a_trained_head_is_refused_as_teacher(tmp_path):
    message = failure("train", "task=sst2", f"task.data.path={DATA}/glue/sst2", *MODEL, *SMALL, "teacher=checkpoint",
                      f"teacher.name={MINILM}", "hydra.run.dir=headless", folder=tmp_path)  # fmt: skip
    assert "is not fine-tuned for sst2: it has no trained head" in message


@pytest.mark.slow
def test_an_encoder_pruned_on_plain_text_keeps_exactly_its_zeros_when_transferred_to_sst2(tmp_path):
    file = next((DATA / "squad").glob("train*.parquet"))
    contexts = dict.fromkeys(load_dataset("parquet", data_files=str(file), split="train[:1000]")["context"])
    lines = [" ".join(context.split()) for context in contexts][:40]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    run("train", "task=masked_lm", "task.data.files.train=train.txt", *MODEL, *SMALL, "recipe=oneshot80",
        "teacher=none", "hydra.run.dir=upstream", folder=tmp_path)  # fmt: skip
    metrics = result_of(tmp_path / "upstream")["metrics"]
    assert set(metrics) == {"perplexity", "accuracy"}
    assert math.isfinite(metrics["perplexity"])
    assert_exactly_sparse(tmp_path / "upstream", 0.8)

    run("train", "task=sst2", f"task.data.path={DATA}/glue/sst2", *MODEL, "model.name=upstream", *SMALL,
        "recipe=transfer80", "teacher=none", "hydra.run.dir=down", folder=tmp_path)  # fmt: skip
    assert_exactly_sparse(tmp_path / "down", 0.8)
    before, after = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("upstream", "down"))
    encoder = [name for name, w in before.items() if ".layer." in name and w.ndim == 2]
    assert all(torch.equal(before[name] == 0, after[name] == 0) for name in encoder)
    assert {"bert.pooler.dense.weight", "classifier.weight"} <= after.keys() - before.keys()


@pytest.mark.parametrize("task", [pytest.param("squad", marks=pytest.mark.slow), "squad_v2"])
def test_squad_is_trained_pruned_and_scored_like_an_independent_scorer(tmp_path, task):
    data = [f"task={task}", f"task.data.path={DATA}/{task}", "task.max_seq_length=128", "task.doc_stride=32"]
    run("train", *data, *MODEL, *SMALL, "recipe=gmp80", "teacher=none", f"hydra.run.dir={task}", folder=tmp_path)
    assert_exactly_sparse(tmp_path / task, 0.8)
    answers = json.loads((tmp_path / task / "predictions.json").read_text())
    file = str(next((DATA / task).glob("validation*.parquet")))
    rows = load_dataset("parquet", data_files=file, split="train").shuffle(seed=0).select(range(EVAL_ROWS))
    assert set(answers) == set(rows["id"])
    assert all(answers[row["id"]] in row["context"] for row in rows)
    target = [{"id": r["id"], "answers": {"text": r["answers"]["text"] or [""], "answer_start": [0]}} for r in rows]
    expected = squad([{"id": name, "prediction_text": text} for name, text in answers.items()], target)
    metrics = result_of(tmp_path / task)["metrics"]
    assert metrics["exact_match"] == pytest.approx(float(expected["exact_match"]), abs=1e-4)
    assert metrics["f1"] == pytest.approx(float(expected["f1"]), abs=1e-4)


def test_the_answers_of_squad_are_recovered_from_the_tokens_of_a_real_tokenizer():
    """The model is an oracle that always predicts the true span; windows are short, so every context has several."""
    file = str(next((DATA / "squad").glob("validation*.parquet")))
    rows = load_dataset("parquet", data_files=file, split="train").select(range(300))
    task = qa_task(max_seq_length=96, doc_stride=32, max_question_length=40, id_column="id", max_answer_length=60)
    rows = task.prepare(DatasetDict({"train": rows}))["train"]
    predictions = oracle(task, rows, AutoTokenizer.from_pretrained(MINILM))["nbest_predictions.json"]
    for row in rows:
        text, start = row["answers"]["text"][0], row["answers"]["answer_start"][0]
        best = predictions[row["id"]][0]
        assert best["text"] == row["context"][best["start"] : best["end"]]
        assert text in best["text"]  # a token may contain more than the answer, such as 1817 for 7
        assert best["start"] <= start
        assert best["end"] >= start + len(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "path", "matmuls", "row"),
    [
        ("sst2", "glue/sst2", 50, {"text": "a gripping, tender film"}),
        ("squad", "squad", 49, {"question": "Who sold it?", "context": "Ann sold the old mill to the town."}),
        ("wnut17", "wnut_17", 49, {"text": "Ann sold the mill in Oslo"}),
    ],
)
def test_a_quantised_encoder_is_deployed_with_every_matmul_in_int8_and_predicts(tmp_path, task, path, matmuls, row):
    overrides = [f"task={task}", f"task.data.path={DATA}/{path}", *MODEL, "task.data.max_train_samples=96"]
    if task == "squad":
        overrides += ["task.max_seq_length=128", "task.doc_stride=32"]
    run("train", *overrides, "task.data.max_eval_samples=200", "task.data.batch_size=8", "recipe=quant",
        "recipe.num_epochs=1", "teacher=none", "export=onnx", "hydra.run.dir=deployed", folder=tmp_path)  # fmt: skip
    verification = json.loads((tmp_path / "deployed" / "deployment" / "verification.json").read_text())
    assert verification["passed"]
    assert verification["samples"]["inputs"] >= 200
    for kind in ("as_exported", "fixed_shape"):
        assert (verification["matmuls"][kind]["int8"], verification["matmuls"][kind]["float"]) == (matmuls, 0)
    output = run("predict", "deployment=deployed", *(f"{name}={text}" for name, text in row.items()), folder=tmp_path)
    name = next(iter(row))  # the output repeats a question, but not its context
    assert json.loads(output)[name] == row[name]
