import json
import shutil

import pytest
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.toys import failure, own_data, review_tables, run, run_command
from winnow.config.run import saved_config
from winnow.config.task import Data
from winnow.deployment import export_run, speedup
from winnow.deployment.exportable import is_exported
from winnow.deployment.graph import traceable_copy
from winnow.files.run_files import write_result
from winnow.models.pretrained import save_model
from winnow.models.structures import remove_structures, structure_blocks

BLOCKS = "recipe.pruning.structure=block4"
SHAPE = ["export.batch_size=4", "export.sequence_length=16"]  # written in half the time of a graph for any


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a finished run in it, and a quantised one made of it."""
    folder = tmp_path_factory.mktemp("export")
    review_tables(folder / "data", train=160, held_out=24)
    words = [*own_data(folder / "data"), "teacher=none", "model.config.num_hidden_layers=1"]
    run("train", *words, "recipe=oneshot80", "recipe.num_epochs=2", BLOCKS, "hydra.run.dir=run", folder=folder)
    words = [*words, "recipe=ptq", "recipe.quantization.embedding_bits=4", "model.name=run", "model.config=null"]
    run("train", *words, "hydra.run.dir=quantised", folder=folder)
    return folder


@pytest.fixture(scope="module")
def exported(place):
    return run("export", "run=run", folder=place)


@pytest.fixture
def copied(place, tmp_path):
    """The finished run, to be damaged."""
    shutil.copytree(place / "run", tmp_path / "run")
    return tmp_path


def row_of(folder):
    return json.loads((folder / "result.json").read_text())


def test_a_deployment_has_graph_configuration_tokenizer_verification_and_readme(place, exported):
    folder = place / "run" / "deployment"
    files = {path.name for path in folder.iterdir()}
    assert {"model.onnx", "config.json", "tokenizer.json", "verification.json", "README.md"} <= files
    assert "winnow predict deployment=FOLDER" in (folder / "README.md").read_text()
    assert json.loads((folder / "verification.json").read_text())["passed"] is True
    assert not (place / "run" / "deployment.partial").exists()


def test_the_configuration_of_a_deployment_has_that_of_the_model_and_describes_the_graph(place, exported):
    config = json.loads((place / "run" / "deployment" / "config.json").read_text())
    ours = config.pop("winnow")
    assert config == json.loads((place / "run" / "model" / "config.json").read_text())
    assert (ours["labels"], ours["outputs"], ours["precision"]) == (["negative", "positive"], ["logits"], "float32")
    assert ours["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]
    assert (ours["batch_size"], ours["sequence_length"]) == (None, None)
    assert ours["task"]["_target_"] == "winnow.tasks.text_classification.TextClassification"
    assert str(place) not in json.dumps(ours)


def test_the_row_of_the_run_gets_the_figures_of_its_deployment(place, exported):
    row = row_of(place / "run")
    facts = row["deployment"]
    assert row["status"] == "ok"
    assert facts["precision"] == "float32"
    assert facts["bytes"] == (place / "run" / "deployment" / "model.onnx").stat().st_size
    assert facts["bytes"] > facts["compressed_bytes"] > 0
    assert facts["metrics"] == {name: row["metrics"][name] for name in facts["metrics"]}
    assert facts["matmuls"] == {"int8": 0, "float": 10}
    assert facts["agreement"] == 1.0


def test_the_report_is_short_and_names_the_next_commands(exported):
    assert "same predictions" in exported
    assert 'python -m src.predict deployment=run/deployment text="..."' in exported
    assert len(exported.splitlines()) < 25


def test_few_validation_examples_are_joined_by_training_examples(place, exported):
    samples = json.loads((place / "run" / "deployment" / "verification.json").read_text())["samples"]
    assert (samples["examples"], samples["inputs"], samples["of_training"]) == (24, 184, 160)


@pytest.fixture(scope="module")
def quantised(place):
    return run("export", "run=quantised", folder=place)


def test_a_quantised_run_becomes_int8(place, quantised):
    facts = row_of(place / "quantised")["deployment"]
    assert (facts["precision"], facts["matmuls"]) == ("int8", {"int8": 10, "float": 0})
    assert "10 of 10" in quantised
    readme = (place / "quantised" / "deployment" / "README.md").read_text()
    assert "processors without VNNI" in readme
    assert "embeddings have 4 bits: it needs ONNX Runtime 1.23 or newer, or OpenVINO 2026.4 or newer" in readme


def test_a_quantised_run_with_blocks_of_zeros_gets_a_graph_for_the_sparse_engine(place, quantised, sparse_engine):
    folder = place / "quantised" / "deployment"
    facts, report = row_of(place / "quantised")["deployment"], json.loads((folder / "verification.json").read_text())
    assert (folder / "libwinnow_sparse.so").is_file()
    assert facts["sparse"]["bytes"] == (folder / "model.sparse.onnx").stat().st_size
    assert facts["sparse"]["bytes"] > facts["sparse"]["compressed_bytes"] > 0
    assert (facts["sparse"]["packed"], facts["sparse"]["alone"], report["sparse"]["failures"]) == (6, 0, [])
    assert facts["sparse"]["empty_blocks"] == pytest.approx(0.8, abs=0.02)
    assert facts["sparse"]["metrics"] == report["sparse"]["metrics"]["sparse"]
    assert "6 packed, 0 alone" in quantised
    readme = (folder / "README.md").read_text()
    assert 'options.register_custom_ops_library("FOLDER/libwinnow_sparse.so")' in readme


def test_a_graph_for_the_sparse_engine_that_fails_is_removed_and_the_export_succeeds(
    place, quantised, sparse_engine, tmp_path, monkeypatch, capsys
):
    def failing(*arguments, **settings):
        report = verify(*arguments, **settings)
        report["sparse"]["failures"] = ["the logits differ"]
        return report

    verify = export_run.verify
    monkeypatch.setattr(export_run, "verify", failing)
    shutil.copytree(place / "quantised", tmp_path / "run")
    run("export", "run=run", *SHAPE, folder=tmp_path)
    folder = tmp_path / "run" / "deployment"
    said = "note: the deployment has no model.sparse.onnx, which does not compute what the model computes: the logits"
    assert said in capsys.readouterr().err
    assert {path.name for path in folder.iterdir()}.isdisjoint({"model.sparse.onnx", "libwinnow_sparse.so"})
    report = json.loads((folder / "verification.json").read_text())
    assert (report["passed"], report["sparse"]["failures"]) == (True, ["the logits differ"])
    assert "sparse" not in row_of(tmp_path / "run")["deployment"]
    assert "sparse" not in (folder / "README.md").read_text()


def test_without_a_compiler_an_export_has_no_graph_for_the_sparse_engine_and_says_why(
    place, quantised, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("CXX", "/nonexistent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shutil.copytree(place / "quantised", tmp_path / "run")
    run("export", "run=run", *SHAPE, folder=tmp_path)
    assert "note: model.sparse.onnx is not written: CXX=/nonexistent is not installed" in capsys.readouterr().err
    assert not (tmp_path / "run" / "deployment" / "model.sparse.onnx").exists()


def test_a_training_with_export_onnx_ends_with_an_export(place):
    words = [*own_data(place / "data"), "teacher=none", "recipe=dense", "recipe.num_epochs=1", "hydra.run.dir=both"]
    output = run("train", *words, "export=onnx", *SHAPE, folder=place)
    assert "deployment   both/deployment" in output
    facts = json.loads((place / "both" / "deployment" / "config.json").read_text())["winnow"]
    assert (facts["batch_size"], facts["sequence_length"], facts["task"]["max_length"]) == (4, 16, 16)
    row = row_of(place / "both")
    assert row["deployment"]["precision"] == "float32"
    again = run("train", *words, "export=onnx", *SHAPE, "resume=true", folder=place)
    assert f"resume=true: the run in {place}/both has finished;" in again
    assert again.endswith("\nThe export is in both/deployment already.\n")
    graph = place / "both" / "deployment" / "model.onnx"
    content = graph.read_bytes()
    graph.write_bytes(content[:-1] + b"?")
    again = run("train", *words, "export=onnx", *SHAPE, "resume=true", folder=place)
    assert f"note: {graph} is damaged" in again
    assert graph.read_bytes() == content
    settings = saved_config(place / "both").export
    for changes in ({"opset": 18}, {"precision": "float16"}, {"compare": True}):
        assert not is_exported(place / "both", settings.model_copy(update=changes))
    assert is_exported(place / "both", settings)
    write_result(place / "both", {**row, "deployment": {}})  # killed before the row was written
    assert not is_exported(place / "both", settings)


def test_an_export_that_cannot_work_is_refused_before_training(place):
    words = [*own_data(place / "data"), "teacher=none", "recipe=dense", "hydra.run.dir=never"]
    assert "export.opset must be" in failure("train", *words, "export=onnx", "export.opset=7", folder=place)
    assert not (place / "never" / "result.json").exists()


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("export.opset=7", "export.opset must be 18 to"),
        ("export.opset=99", "got 99"),
        ("export.precision=float8", "export.precision must be one of auto, float32, float16, int8"),
        ("export.precision=int8", "the run is not quantised"),
        ("export.sequence_length=129", "export.sequence_length=129: the model reads 128 tokens at most"),
        ("export.sequence_length=3", "leaves no room for a text"),
        ("export.batch_size=0", "export.batch_size must be a whole number, 1 or more, or null"),
        ("export.samples=0", "export.samples must be"),
        ("export.data=nowhere/at/all", "export.data=nowhere/at/all: there is no such folder"),
        ("+export.opsett=18", "export.opsett is not a setting"),
        ("export=none", "export=none exports nothing"),
    ],
)
def test_an_export_that_cannot_work_is_refused(place, word, says):
    message = failure("export", "run=run", word, folder=place)
    assert says in message
    assert "\n" not in message


def test_a_quantised_run_has_no_other_precision(place):
    message = failure("export", "run=quantised", "export.precision=float16", folder=place)
    assert "the run is quantised, so its graph is int8" in message


def test_a_missing_run_is_refused_with_the_nearest_name(place):
    assert "there is no such folder. Did you mean 'run'?" in failure("export", "run=runn", folder=place)


def test_a_run_that_has_not_ended_is_refused(copied):
    (copied / "run" / "result.json").unlink()
    assert "no run has ended here; finish it with resume=true hydra.run.dir=run." in failure(
        "export", "run=run", folder=copied
    )


def test_a_run_that_has_failed_is_refused(copied):
    row = row_of(copied / "run") | {"status": "failed", "error": "a full disk"}
    (copied / "run" / "result.json").write_text(json.dumps(row))
    assert "the run has failed (a full disk)" in failure("export", "run=run", folder=copied)


def test_damaged_weights_are_refused(copied):
    path = copied / "run" / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "model.safetensors is damaged: its SHA-256 is not" in failure("export", "run=run", folder=copied)


def test_missing_packages_are_named(place, monkeypatch):
    monkeypatch.setattr("winnow.deployment.exportable.find_spec", lambda name: None if name == "onnxscript" else True)
    message = failure("export", "run=run", folder=place)
    assert message == "error: onnxscript must be installed for an export: pip install onnxscript."


def moved(copied, place):
    """The run as if its data were in a folder that is not there any more."""
    path = copied / "run" / ".hydra" / "resolved.yaml"
    config = yaml.safe_load(path.read_text())
    config["task"]["data"]["path"] = str(copied / "gone")
    path.write_text(yaml.safe_dump(config))


def test_an_export_without_data_names_the_setting_for_them(copied, place):
    moved(copied, place)
    message = failure("export", "run=run", folder=copied)
    assert "verified on the run's data, which are gone" in message
    assert "export.data=FOLDER" in message


def test_data_in_another_folder_can_be_used(copied, place):
    moved(copied, place)
    run("export", "run=run", f"export.data={place / 'data'}", *SHAPE, folder=copied)
    assert (copied / "run" / "deployment" / "model.onnx").is_file()


def test_a_masked_language_model_is_not_deployed(copied):
    path = copied / "run" / ".hydra" / "resolved.yaml"
    config = yaml.safe_load(path.read_text())
    config["task"] = {
        **{name: config["task"][name] for name in ("name", "metrics", "max_length")},
        "_target_": "winnow.tasks.masked_lm.MaskedLM",
        "data": {name: config["task"]["data"][name] for name in Data.model_fields},
        "line_by_line": False,
        "mask_probability": 0.15,
    }
    path.write_text(yaml.safe_dump(config))
    assert "masked language models cannot be deployed; fine-tune" in failure("export", "run=run", folder=copied)


def test_a_failed_export_keeps_an_earlier_one_and_its_report(place, exported, monkeypatch):
    def broken(model, path, **settings):
        model = traceable_copy(model)
        model.bert.pooler.dense.weight.data.mul_(1.5)
        write(model, path, **settings)

    write = export_run.write_graph
    before = {path: path.stat().st_mtime_ns for path in (place / "run" / "deployment").iterdir()}
    monkeypatch.setattr(export_run, "write_graph", broken)
    message = failure("export", "run=run", folder=place)
    assert "the exported graph does not compute what the model computes" in message
    assert "The first module that differs is bert.pooler.dense" in message
    report = json.loads((place / "run" / "verification_failed.json").read_text())
    assert report["passed"] is False
    assert report["failures"]
    assert before == {path: path.stat().st_mtime_ns for path in (place / "run" / "deployment").iterdir()}
    assert not (place / "run" / "deployment.partial").exists()


@pytest.fixture
def small(copied):
    """The finished run without most of its neurons, as if a recipe had asked for a model a thousand times as fast."""
    model = AutoModelForSequenceClassification.from_pretrained(copied / "run" / "model")
    kept = {block: [0] if block.kind == "neurons" else [] for block in structure_blocks(model)}
    remove_structures(model, kept)
    save_model(model, AutoTokenizer.from_pretrained(copied / "run" / "model"), copied / "run" / "model")
    asked = {"target_speedup": 1000.0, "predicted_speedup": 1001.0, "latency": "measured", "dense": {"layers": 1}}
    conditions = {"engine": "onnxruntime", "precision": "float32", "batch_size": 4, "sequence_length": 16, "threads": 1}
    (copied / "run" / "result.json").write_text(json.dumps(row_of(copied / "run") | {"structure": asked | conditions}))
    (copied / "run" / "deployment").mkdir(exist_ok=True)
    (copied / "run" / "deployment" / "earlier").touch()
    return copied


def test_a_deployment_that_is_slower_than_asked_for_is_refused_unless_that_is_allowed(small, monkeypatch):
    monkeypatch.setattr(speedup, "_SECONDS", 0)
    message = failure("export", "run=run", *SHAPE, folder=small)
    assert "the deployment is slower than was asked for: asked 1000, predicted 1,001, measured " in message
    assert "export.allow_slower=true, or train with a larger recipe.structure.target_speedup" in message
    assert (small / "run" / "deployment" / "earlier").exists()
    assert "speedup" not in row_of(small / "run").get("deployment", {})
    output = run("export", "run=run", *SHAPE, "export.allow_slower=true", folder=small)
    assert "speedup      asked 1000, predicted 1,001, measured " in output
    assert "ONNX Runtime, batch 4, 16 tokens, 1 thread" in output
    found = row_of(small / "run")["deployment"]
    assert 0 < found["speedup"]["measured"]["median"] < 1000
    assert found["matmuls"] == {"int8": 0, "float": 4}  # one linear layer in, one out, pooler and head


@pytest.mark.slow
def test_the_console_is_quiet(place):
    done = run_command("export", f"run={place / 'run'}", "export.opset=18", *SHAPE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "arn" not in done.stdout
