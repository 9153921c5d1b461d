import shutil

import pytest

from tests.deployment.toys import family, without_structures, written
from tests.toys import toy_task
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.deployment import speedup
from winnow.deployment.speedup import check_speedup, measure_speedup, speedup_text
from winnow.errors import UserError
from winnow.models.pretrained import save_model

SECTION = {
    "inputs": ["input_ids", "attention_mask", "token_type_ids"],
    "precision": "float32",
    "batch_size": 1,
    "sequence_length": 16,
}
STRUCTURE = {
    "target_speedup": 2.0,
    "predicted_speedup": 2.125,
    "engine": "onnxruntime",
    "precision": "float32",
    "batch_size": 1,
    "sequence_length": 16,
    "threads": 1,
    "latency": "measured",
    "dense": {"layers": 5},
}
CONDITIONS = {"engine": "onnxruntime", "batch_size": 1, "sequence_length": 16, "threads": 1}
MEASURED = {
    **CONDITIONS,
    **{"asked": 4.0, "predicted": 4.1, "precision": "int8", "latency": "measured", "notes": []},
    "measured": {"median": 4.05, "min": 3.98, "max": 4.123},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with a model without some heads and neurons, and its graph."""
    folder = tmp_path_factory.mktemp("run")
    model = without_structures(family("bert", layers=3))
    save_model(model, tiny_tokenizer(), folder / "model")
    (folder / "deployment").mkdir()
    written(model, folder / "deployment" / "model.onnx", batch_size=1, sequence_length=16)
    return folder


@pytest.fixture
def dense(run, monkeypatch):
    """Of each graph of a dense model that is written its model and settings; the deployed graph takes its place."""
    found = []

    def write(model, path, **settings):
        found.append((model, settings))
        shutil.copy(run / "deployment" / "model.onnx", path)

    monkeypatch.setattr(speedup, "write_graph", write)
    monkeypatch.setattr(speedup, "_ROUNDS", 3)
    monkeypatch.setattr(speedup, "_SECONDS", 0)
    return found


def measured_of(run, structure=STRUCTURE, **section):
    return measure_speedup(structure, run, run / "deployment", toy_task(), {**SECTION, **section}, opset=20)


def test_the_dense_model_has_all_layers_heads_and_neurons_and_the_shape_of_the_deployed_graph(run, dense):
    facts = measured_of(run)
    ((model, settings),) = dense
    assert model.num_parameters() == family("bert", layers=5).num_parameters()
    assert settings == {
        **{name: SECTION[name] for name in ("inputs", "batch_size", "sequence_length")},
        "outputs": ("logits",),
        "opset": 20,
    }
    assert {name: facts[name] for name in CONDITIONS} == CONDITIONS
    assert (facts["asked"], facts["predicted"], facts["notes"]) == (2.0, 2.125, [])
    assert facts["measured"]["min"] <= facts["measured"]["median"] <= facts["measured"]["max"]
    assert facts["machine"]["threads"] == 1


def test_the_speedup_is_the_time_of_the_dense_model_over_that_of_the_deployment(run, dense, monkeypatch):
    times = {"dense": [6.0, 8.0, 9.0], "deployed": [2.0, 2.0, 2.0]}
    monkeypatch.setattr(speedup, "measure", lambda engines, **settings: {name: times[name] for name in engines})
    assert measured_of(run)["measured"] == {"median": 4.0, "min": 3.0, "max": 4.5}


def test_a_graph_of_any_shape_is_measured_in_the_shape_that_was_asked_for(run, dense, monkeypatch):
    seen = []
    monkeypatch.setattr(
        speedup, "measure", lambda engines, **settings: seen.append(settings) or {name: [1.0] for name in engines}
    )
    facts = measured_of(run, {**STRUCTURE, "sequence_length": 24}, batch_size=None, sequence_length=None)
    assert (seen[0]["batch_size"], seen[0]["length"], seen[0]["vocabulary"]) == (1, 24, 60)
    assert (facts["sequence_length"], facts["notes"]) == (24, [])


@pytest.mark.parametrize(("name", "value"), [("precision", "int8"), ("sequence_length", 128), ("batch_size", 32)])
def test_a_deployment_in_other_conditions_than_asked_for_is_measured_and_never_refused(run, dense, name, value):
    facts = measured_of(run, {**STRUCTURE, name: value, "target_speedup": 1000.0})
    assert facts["measured"]["median"] > 0
    (note,) = facts["notes"]
    assert f"the deployment has {name}={SECTION[name]}, but heads and neurons were chosen for {name}={value}" in note
    check_speedup(facts, run)


@pytest.mark.parametrize(
    ("engine", "note"),
    [
        ("openvino", "the speedup is not measured: the package openvino is not installed; pip install openvino"),
        ("sparse", "the speedup is not measured: the deployment has no model.sparse.onnx"),
    ],
)
def test_an_engine_that_cannot_run_here_gives_a_note(run, monkeypatch, engine, note):
    monkeypatch.setattr(speedup, "find_spec", lambda name: name == "onnxruntime" or None)
    facts = measured_of(run, {**STRUCTURE, "engine": engine})
    assert (facts["measured"], facts["notes"]) == (None, [note])
    assert speedup_text(facts).startswith("asked 2, predicted 2.12 times as fast as the dense float32 model in ")
    check_speedup(facts, run)


def test_a_ratio_of_multiply_accumulates_is_not_measured(run, dense):
    facts = measured_of(run, {**STRUCTURE, "latency": "macs"})
    assert (facts["measured"], facts["notes"], dense) == (None, [], [])
    check_speedup(facts, run)
    assert speedup_text(facts) == (
        "asked 2, predicted 2.12 times fewer multiply-accumulates than the dense model; no time was measured"
    )


@pytest.mark.parametrize(("median", "refused"), [(3.73, False), (3.71, True)])
def test_a_deployment_that_misses_the_speedup_by_seven_percent_is_refused(run, median, refused):
    facts = MEASURED | {"measured": {"median": median, "min": 3.5, "max": 4.0}}
    if not refused:
        check_speedup(facts, run)
        return
    with pytest.raises(UserError, match=r"asked 4, predicted 4\.10, measured 3\.71.*export\.allow_slower=true, or"):
        check_speedup(facts, run)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({}, "ONNX Runtime, batch 1, 16 tokens, 1 thread"),
        ({"engine": "openvino", "threads": 2}, "OpenVINO, batch 1, 16 tokens, 2 threads"),
        ({"engine": "sparse"}, "ONNX Runtime (deployed in the sparse engine), batch 1, 16 tokens, 1 thread"),
    ],
)
def test_a_speedup_is_a_line_with_its_conditions(changes, where):
    assert speedup_text(MEASURED | changes) == (
        f"asked 4, predicted 4.10, measured 4.05 (3.98..4.12) times as fast as the dense float32 model in {where}"
    )
