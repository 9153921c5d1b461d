import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from tests.toys import failure, own_data, review_tables, run, run_command
from winnow.functional.structure import zeros_count
from winnow.runs.run_folder import find_run

FIELDS = {
    *("status", "error", "fingerprint", "command", "task", "model", "recipe", "teacher", "seed", "metrics"),
    *("sparsity", "sparsity_by_layer", "parameters", "nonzero_parameters", "layers", "epochs", "pruning_epochs"),
    *("pruned", "one_shot", "distilled", "quantized", "train_seconds", "samples_per_second", "versions"),
}
FAST = ["recipe.num_epochs=2", "dense.num_epochs=1"]


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def encoder_zeros(folder):
    """(zeros, weights) of each encoder matrix in a saved model."""
    weights = load_file(folder / "model" / "model.safetensors")
    matrices = {name: w for name, w in weights.items() if ".layer." in name and w.ndim == 2}
    return {name: (int((w == 0).sum()), w.numel()) for name, w in matrices.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    review_tables(folder / "data")
    return folder


@pytest.fixture(scope="module")
def pruned(place):
    """The main job: a dense teacher is trained, a student pruned with distillation; the folder and what was printed."""
    output = run("train", *own_data(place / "data"), *FAST, "recipe=gmp80", "hydra.run.dir=pruned", folder=place)
    return place / "pruned", output


@pytest.fixture(scope="module")
def dense(place, pruned):
    folder = find_run(place / "outputs", fingerprint_of_dense(place))
    assert folder is not None
    return folder


def fingerprint_of_dense(place):
    rows = [json.loads(path.read_text()) for path in (place / "outputs").rglob("result.json")]
    return next(row["fingerprint"] for row in rows if row["recipe"] == "dense")


def test_the_row_of_a_run_has_every_field_of_the_contract(pruned):
    row = result_of(pruned[0])
    assert set(row) >= FIELDS
    assert (row["status"], row["error"]) == ("ok", None)
    assert (row["task"], row["recipe"], row["teacher"], row["seed"]) == ("text_classification", "gmp80", "dense", 1)
    assert (row["pruned"], row["one_shot"], row["distilled"], row["quantized"]) == (True, False, True, False)
    assert (row["epochs"], row["layers"]) == (2, 2)
    recipe = yaml.safe_load((pruned[0] / "recipe.yaml").read_text())["pruning"]
    length = recipe["end_epoch"] - recipe["start_epoch"]
    assert row["pruning_epochs"] == pytest.approx(length, abs=1 / 6)  # six steps an epoch
    assert set(row["metrics"]) == set(row["test_metrics"]) == {"accuracy", "f1"}
    assert row["train_seconds"] > 0
    assert row["samples_per_second"] > 0
    assert "torch" in row["versions"]
    assert row["command"].startswith("python -m src.train task=text_classification")


def test_the_teacher_reads_the_training_data_once_for_any_number_of_epochs(pruned, place):
    said = [line for line in pruned[1].splitlines() if line.startswith("Teacher's outputs:")]
    assert said[0] == "Teacher's outputs: 48 texts, computed once for all epochs and runs."
    assert re.fullmatch(
        r"Teacher's outputs: 48 texts, 0.0 MB, computed in \d+ s, in outputs/cache/teacher-\w+", said[1]
    )
    (header,) = (place / "outputs" / "cache").glob("*/header.json")
    assert json.loads(header.read_text())["rows"] == 48


def test_the_measured_sparsity_is_the_number_of_zeros_in_the_saved_model(pruned):
    row, zeros = result_of(pruned[0]), encoder_zeros(pruned[0])
    assert len(zeros) == 12
    assert {name: count for name, (count, _) in zeros.items()} == {
        name: zeros_count(numel, 0.8) for name, (_, numel) in zeros.items()
    }
    total = sum(numel for _, numel in zeros.values())
    assert row["sparsity"] == pytest.approx(sum(count for count, _ in zeros.values()) / total, abs=1e-12)
    assert row["sparsity_by_layer"] == {name: pytest.approx(count / numel) for name, (count, numel) in zeros.items()}
    weights = load_file(pruned[0] / "model" / "model.safetensors")
    assert row["parameters"] == sum(w.numel() for w in weights.values())
    assert row["nonzero_parameters"] == sum(int(torch.count_nonzero(w)) for w in weights.values())


def test_the_saved_model_opens_without_this_project_and_gives_the_recorded_metric(pruned, place):
    model = AutoModelForSequenceClassification.from_pretrained(pruned[0] / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(pruned[0] / "model")
    for split, recorded in (("validation", "metrics"), ("test", "test_metrics")):
        lines = (place / "data" / f"{split}.csv").read_text().splitlines()[1:]
        texts, labels = zip(*(line.rsplit(",", 1) for line in lines), strict=True)
        encoded = tokenizer([text.strip('"') for text in texts], padding=True, return_tensors="pt")
        with torch.no_grad():
            predicted = [model.config.id2label[i] for i in model(**encoded).logits.argmax(-1).tolist()]
        right = sum(p == y for p, y in zip(predicted, labels, strict=True))
        assert result_of(pruned[0])[recorded]["accuracy"] == pytest.approx(right / len(labels), abs=1e-6)


def test_the_names_of_the_labels_are_in_the_saved_configuration(pruned):
    config = json.loads((pruned[0] / "model" / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}


def test_a_run_whose_loss_is_nan_ends_as_failed_runs_do(place):
    words = ["recipe=dense", "teacher=none", "recipe.num_epochs=1", "recipe.optimizer.learning_rate=1e30"]
    message = failure("train", *own_data(place / "data"), *words, "hydra.run.dir=diverged", folder=place)
    row = result_of(place / "diverged")
    assert message.startswith("error: step ")
    assert "the loss is nan, not a finite number" in message
    assert (row["status"], f"error: {row['error']}", row["metrics"]) == ("failed", message, {})
    assert not (place / "diverged" / "model").exists()


def test_the_run_folder_has_every_file_of_the_contract(pruned):
    folder = pruned[0]
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert {"result.json", "recipe.yaml", ".hydra/config.yaml", ".hydra/overrides.yaml", "logs/metrics.csv"} <= names
    assert {"checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= names
    assert {"model/config.json", "model/model.safetensors", "model/tokenizer.json"} <= names
    assert not [name for name in names if "partial" in name]
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert recipe["pruning"]["final_sparsity"] == 0.8
    assert recipe["num_epochs"] == 2


def test_the_dense_teacher_has_a_separate_run_folder(dense):
    row = result_of(dense)
    assert (row["status"], row["recipe"], row["teacher"], row["epochs"]) == ("ok", "dense", "none", 1)
    assert (row["pruned"], row["distilled"], row["pruning_epochs"]) == (False, False, 0.0)
    assert row["sparsity"] < 0.01
    assert dense.parent.parent.parent.name == "runs"


def test_the_summary_compares_with_the_dense_run_and_has_all_paths(pruned, dense, place):
    output = pruned[1]
    assert "Dense teacher: none found in outputs, so it is trained first" in output
    assert "gmp80 of tiny on text_classification, teacher dense" in output
    assert "80.0" in output
    assert "model    pruned/model" in output
    assert f"dense    {dense.relative_to(place)}" in output
    assert "again    python -m src.evaluate run=pruned" in output


def test_a_dense_teacher_is_found_the_second_time(pruned, dense, place):
    before = sorted((place / "outputs").rglob("result.json"))
    changed = dense.stat().st_mtime
    output = run("train", *own_data(place / "data"), *FAST, "recipe=oneshot90", "hydra.run.dir=second", folder=place)
    assert f"Dense teacher: {dense.relative_to(place)}" in output
    assert sorted((place / "outputs").rglob("result.json")) == before
    assert dense.stat().st_mtime == changed
    row = result_of(place / "second")
    assert (row["one_shot"], row["pruning_epochs"]) == (True, 0.0)
    assert {name: count for name, (count, _) in encoder_zeros(place / "second").items()} == {
        name: zeros_count(numel, 0.9) for name, (_, numel) in encoder_zeros(place / "second").items()
    }


def test_a_run_without_a_teacher_is_compared_with_an_existing_dense_run(pruned, dense, place):
    output = run("train", *own_data(place / "data"), *FAST, "teacher=none", "hydra.run.dir=alone", folder=place)
    assert f"dense    {dense.relative_to(place)}" in output
    assert result_of(place / "alone")["distilled"] is False


def test_a_dense_run_is_not_compared_with_itself(dense, place):
    output = run("train", *own_data(place / "data"), "recipe=dense", "dense.num_epochs=1", "resume=true",
                 f"hydra.run.dir={dense.relative_to(place)}", folder=place)  # fmt: skip
    assert "has finished" in output
    assert "difference" not in output


@pytest.mark.parametrize("gigabytes", [20, 0])
def test_the_same_command_gives_the_same_model_with_and_without_a_cache(pruned, dense, place, gigabytes):
    folder = place / f"again{gigabytes}"
    output = run("train", *own_data(place / "data"), *FAST, "recipe=gmp80", f"cache.gigabytes={gigabytes}",
                 f"hydra.run.dir={folder}", folder=place)  # fmt: skip
    assert ("found in" if gigabytes else "of this run") in output
    first, again = (load_file(run / "model" / "model.safetensors") for run in (pruned[0], folder))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert result_of(folder)["metrics"] == result_of(pruned[0])["metrics"]
    assert result_of(folder)["teacher_outputs"] == "stored"
    assert not (folder / "teacher_outputs").exists()


def test_another_seed_gives_another_model_and_another_teacher(pruned, place):
    run("train", *own_data(place / "data"), *FAST, "seed=2", "hydra.run.dir=seed2", folder=place)
    row = result_of(place / "seed2")
    assert row["fingerprint"] != result_of(pruned[0])["fingerprint"]
    dense = [json.loads(p.read_text()) for p in (place / "outputs").rglob("result.json")]
    assert sorted(r["seed"] for r in dense if r["recipe"] == "dense")[:2] == [1, 2]


def test_a_pruned_model_is_fine_tuned_with_its_zeros_kept(pruned, place):
    arguments = [*own_data(place / "data")[:3], "trainer.accelerator=cpu", "model=bert_base"]
    run("train", *arguments, "model.name=pruned", "recipe=transfer", "recipe.num_epochs=1", "teacher=none",
        "recipe.optimizer.learning_rate=1e-3", "hydra.run.dir=transfer", folder=place)  # fmt: skip
    before, after = (load_file(f / "model" / "model.safetensors") for f in (pruned[0], place / "transfer"))
    for name in encoder_zeros(pruned[0]):
        assert torch.equal(before[name] == 0, after[name] == 0)
    assert any((before[name] != after[name]).any() for name in before)


def test_a_finished_run_can_be_a_checkpoint_teacher(pruned, dense, place):
    name = dense.relative_to(place)
    run("train", *own_data(place / "data"), "teacher=checkpoint", f"teacher.name={name}", "recipe.num_epochs=1",
        "hydra.run.dir=taught", folder=place)  # fmt: skip
    row = result_of(place / "taught")
    assert (row["distilled"], row["teacher"]) == (True, str(name))


def test_a_regression_on_a_users_numbers_is_trained_and_evaluated(place):
    folder = place / "numbers"
    folder.mkdir()
    for split, rows in (("train", 40), ("validation", 16)):
        lines = [f"the plot was {'very ' * (i % 5)}good,{i % 5 + 0.5}" for i in range(rows)]
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *lines]))
    run("train", *own_data(folder), "task.regression=true", "task.metrics=[pearson,spearmanr]", *FAST,
        "hydra.run.dir=regression", folder=place)  # fmt: skip
    row = result_of(place / "regression")
    assert row["distilled"]
    assert set(row["metrics"]) == {"pearson", "spearmanr"}
    assert json.loads((place / "regression" / "model" / "config.json").read_text())["problem_type"] == "regression"


def test_a_run_with_accumulation_and_a_ramp_to_the_last_step_reaches_its_sparsity(place):
    run("train", *own_data(place / "data"), "teacher=none", "recipe.num_epochs=2", "recipe.pruning.end_epoch=2",
        "trainer.accumulate_grad_batches=4", "recipe=gmp80", "recipe.pruning.scope=global", "hydra.run.dir=ramp",
        folder=place)  # fmt: skip
    zeros = encoder_zeros(place / "ramp").values()
    assert sum(count for count, _ in zeros) == zeros_count(sum(numel for _, numel in zeros), 0.8)


def test_a_run_that_stops_early_prints_it_and_records_its_epochs(place):
    output = run("train", *own_data(place / "data"), "teacher=none", "recipe=prune80", "recipe.num_epochs=6",
                 "recipe.pruning.end_epoch=2", "recipe.optimizer.learning_rate=1e-12", "trainer.patience=1",
                 "hydra.run.dir=stopped", folder=place)  # fmt: skip
    assert "Stopped early, after epoch 3 of 6: val/accuracy did not get better than" in output
    row = result_of(place / "stopped")
    assert (row["status"], row["epochs"]) == ("ok", 3)
    rounding = {"abs": 0.06, "rel": 0.06 / row["samples_per_second"]}  # of both numbers
    assert 3 * 48 / row["samples_per_second"] == pytest.approx(row["train_seconds"], **rounding)
    assert all(count == zeros_count(numel, 0.8) for count, numel in encoder_zeros(place / "stopped").values())


def test_a_data_parallel_run_is_pruned_exactly_and_measured_on_every_example(place):
    folder = place / "parallel"
    ended = run_command("train", *own_data(place / "data"), "teacher=none", "recipe.num_epochs=2", "trainer=ddp",
                      "trainer.devices=2", f"hydra.run.dir={folder}", f"output_dir={place}")  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("epoch 2.0 of 2") == ended.stdout.count("encoder sparsity") == 1
    assert all(count == zeros_count(numel, 0.8) for count, numel in encoder_zeros(folder).values())
    accuracy = result_of(folder)["metrics"]["accuracy"]
    assert accuracy * 16 == pytest.approx(round(accuracy * 16), abs=1e-4)
    scored = run("evaluate", f"run={folder}", folder=place)
    assert f"validation accuracy {accuracy:.6f} {accuracy:.6f}" in " ".join(scored.split())


def test_a_disk_that_is_full_at_the_end_leaves_earlier_results_untouched(pruned, dense, place, monkeypatch):
    before = {path: path.read_bytes() for path in pruned[0].rglob("*") if path.is_file()}

    def no_space(self, folder, **options):
        (Path(folder) / "model.safetensors").write_bytes(b"some of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", no_space)
    message = failure("train", *own_data(place / "data"), *FAST, "hydra.run.dir=full", folder=place)
    assert "a file could not be written" in message
    assert "hydra.run.dir=FOLDER" in message
    row = result_of(place / "full")
    assert row["status"] == "failed"
    assert "a file could not be written" in row["error"]
    assert not (place / "full" / "model").exists()
    assert not list((place / "full").rglob("*partial*"))
    assert {path: path.read_bytes() for path in pruned[0].rglob("*") if path.is_file()} == before


def test_a_failed_run_is_not_used_as_a_teacher(place, monkeypatch):
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", lambda *args, **kwargs: 1 / 0)
    arguments = [*own_data(place / "data"), *FAST, "seed=77", "output_dir=failing"]
    message = failure("train", *arguments, "hydra.run.dir=failing/student", folder=place)
    assert message.startswith("error: ZeroDivisionError")
    rows = [json.loads(path.read_text()) for path in (place / "failing").rglob("result.json")]
    assert [row["status"] for row in rows] == ["failed", "failed"]
    monkeypatch.undo()
    output = run("train", *arguments, "hydra.run.dir=failing/student", folder=place)
    assert "it is trained first" in output


def clumsy(place, *arguments, **tables):
    """The message of a run on own tables, given as texts by split."""
    folder = place / "clumsy"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for split, text in tables.items():
        (folder / f"{split}.csv").write_text(text)
    return failure("train", *own_data(folder), *FAST, *arguments, "hydra.run.dir=wrong", folder=place)


GOOD = "text,label\n" + "good,a\nbad,b\n" * 20


@pytest.mark.parametrize(
    ("tables", "arguments", "message"),
    [
        (
            {"train": GOOD},
            ["task.data.label_column=lable"],
            r"no column 'lable' in the train split.*Did you mean 'label'",
        ),
        (
            {"train": GOOD},
            ["task.data.text_columns=[sentence]"],
            r"no column 'sentence' in the train split; it has text",
        ),
        ({"train": ""}, [], "train.csv is empty: it has 0 bytes"),
        ({"train": "text,label\n"}, [], "train.csv has no rows"),
        ({"train": 'text,label\n"never closed,a\n'}, [], r"train\.csv, line 2: .* \(its quote is not closed"),
        ({"train": GOOD + ",a\n"}, [], "an empty cell; the first is in column 'text' of train.csv, line 42"),
        (
            {"train": GOOD, "validation": "text,label\ngood,c\n"},
            [],
            "label 'c' does not occur in the training split",
        ),
        ({"test": GOOD}, [], "there is no training split, only test"),
        ({"train": "text,label\ngood,a\nbad,a\n"}, [], "has the single value 'a'"),
        ({"train": GOOD}, ["task.metrics=[acuracy]"], "has no metric 'acuracy'.*Did you mean 'accuracy'"),
        ({"train": GOOD}, ["recipe.pruning.params=[encodr.*]"], "'encodr.\\*' matches none of the 14 linear weights"),
        ({"train": GOOD}, ["recipe=transfer"], "keeps the zeros of a sparse model, but the starting model has none"),
    ],
)
def test_each_mistake_in_the_data_gives_one_short_message(place, tables, arguments, message, capfd):
    text = clumsy(place, "teacher=none", *arguments, **tables)
    assert capfd.readouterr().err == ""  # of libraries; Python prints the message, and exits with status 1
    assert re.search(message, text), text
    assert text.startswith("error: ")
    assert "\n" not in text
    assert "HYDRA_FULL_ERROR" not in text
    row = result_of(place / "wrong")
    assert (row["status"], "error: " + row["error"]) == ("failed", text)


def test_a_mistake_ends_the_command_with_status_1_and_no_trace(tmp_path):
    arguments = ["+recipe.pruning.final_sparsty=0.9", f"hydra.run.dir={tmp_path}/run", f"output_dir={tmp_path}"]
    ended = run_command("train", *arguments)
    assert ended.returncode == 1
    assert "Did you mean 'final_sparsity'?" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_value_out_of_range_ends_the_command_before_a_row_is_written(tmp_path):
    message = failure("train", "recipe.pruning.final_sparsity=95", "hydra.run.dir=run", folder=tmp_path)
    assert "write 95 % as 0.95" in message
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_mistyped_setting_ends_the_command_with_the_nearest_one_and_no_trace():
    ended = run_command("train", "recipe.pruning.final_sparsty=0.9")
    assert ended.returncode == 1
    assert ended.stderr.endswith(" Did you mean 'recipe.pruning.final_sparsity'?\n")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_demo_is_learnt_to_95_percent_and_pruned_within_3_points(tmp_path):
    folders = [f"hydra.run.dir={tmp_path}/run", f"output_dir={tmp_path}/outputs"]
    ended = run_command("train", "recipe.num_epochs=3", *folders)
    assert ended.returncode == 0, ended.stderr
    dense = next(json.loads(p.read_text()) for p in (tmp_path / "outputs").rglob("result.json"))
    pruned = result_of(tmp_path / "run")
    assert dense["metrics"]["accuracy"] >= 0.95
    assert pruned["metrics"]["accuracy"] >= dense["metrics"]["accuracy"] - 0.03
    assert pruned["sparsity"] == pytest.approx(0.8, abs=1e-4)


QUANTIZED = ["+modifier@recipe.quantization=quantization", "recipe.quantization.start_epoch=1"]


@pytest.fixture(scope="module")
def quantized(place):
    """Pruned, distilled and quantised in one run."""
    run("train", *own_data(place / "data"), *FAST, *QUANTIZED, "hydra.run.dir=quantized", folder=place)
    return place / "quantized"


def test_pruning_distillation_and_quantisation_are_one_run(quantized):
    row = result_of(quantized)
    assert (row["status"], row["pruned"], row["distilled"], row["quantized"]) == ("ok", True, True, True)
    for zeros, size in encoder_zeros(quantized).values():
        assert zeros >= zeros_count(size, 0.8)
    changes = [event["change"] for event in json.loads((quantized / "events.json").read_text())]
    assert "quantises 19 modules" in changes
    assert "freezes the grids" in changes


def test_the_saved_model_of_a_quantised_run_is_a_plain_one(quantized):
    model, report = AutoModelForSequenceClassification.from_pretrained(quantized / "model", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    query = model.bert.encoder.layer[0].attention.self.query.weight.detach()
    grid = load_file(quantized / "model" / "quantization.safetensors")
    codes = query / grid["bert.encoder.layer.0.attention.self.query.weight_quantizer.scale"][:, None]
    torch.testing.assert_close(codes, codes.round(), atol=1e-4, rtol=0)


def test_a_quantised_run_is_evaluated_again_with_equal_metrics(place, quantized):
    lines = run("evaluate", f"run={quantized}", folder=place).splitlines()[1:]
    assert lines
    assert all(line.split()[-1] == line.split()[-2] for line in lines)


def test_a_finished_run_is_quantised_by_calibration(place, pruned):
    (place / "texts.csv").write_text("text\n" + "a fine film\na dull film\n" * 9)
    words = [*own_data(place / "data"), "recipe=ptq", "model.config=null", f"model.name={pruned[0]}"]
    settings = ["recipe.quantization.calibration_samples=16", "recipe.quantization.calibration=texts.csv"]
    output = run("train", *words, *settings, "hydra.run.dir=ptq", folder=place)
    row = result_of(place / "ptq")
    assert (row["status"], row["quantized"], row["epochs"], row["teacher"]) == ("ok", True, 0.0, "none")
    assert "ptq of" in output
    before = encoder_zeros(pruned[0])
    assert all(zeros >= before[name][0] for name, (zeros, _) in encoder_zeros(place / "ptq").items())
    events = json.loads((place / "ptq" / "events.json").read_text())
    assert [event["change"] for event in events] == ["quantises 19 modules by 16 examples"]
    assert (place / "ptq" / "model" / "quantization.safetensors").is_file()


def test_calibration_of_a_model_that_was_never_trained_for_the_task_is_refused(place):
    message = failure("train", *own_data(place / "data"), "recipe=ptq", folder=place)
    assert "the model has no head that was trained for this task" in message


@pytest.mark.parametrize(
    "settings",
    [("teacher=none", "recipe.num_epochs=0"), ("teacher=none", "recipe.num_epochs=1"), ("teacher=self",)],
    ids=" ".join,
)
def test_heads_of_a_model_that_was_never_trained_for_the_task_are_not_removed_by_its_outputs(tmp_path, settings):
    words = [*own_data(review_tables(tmp_path / "data")), "recipe=fast2", *settings]
    message = failure("train", *words, "recipe.structure.latency=macs", "hydra.run.dir=run", folder=tmp_path)
    assert "the model, which has no head that was trained for this task; add teacher=dense, or start from" in message
    assert not (tmp_path / "run" / "latency_table.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["teacher=dense"], "teacher=dense has no effect: recipe=ptq does not train"),
        (["recipe.num_epochs=2"], "but a recipe that calibrates does not train; set it to 0"),
        (["recipe.quantization.weight_bits=3"], "recipe.quantization.weight_bits must be 8 or 4, got 3"),
        (["recipe.quantization.calibration_samples=0"], "must be a whole number, 1 or more, got 0"),
    ],
)
def test_a_calibration_that_cannot_work_is_refused(place, words, message):
    assert message in failure("train", *own_data(place / "data"), "recipe=ptq", *words, folder=place)
