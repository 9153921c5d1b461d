import json

import pytest

from tests.toys import toy_data, toy_model
from winnow.deployment import comparison, sparse_graph
from winnow.deployment.comparison import Way, compare, fastest, ways
from winnow.deployment.engines import open_engine
from winnow.deployment.graph import write_graph
from winnow.deployment.sparse_graph import write_sparse_graph
from winnow.errors import UserError
from winnow.models.pretrained import load_saved, save_model
from winnow.models.quantized_model import insert_fake_quant, quantizable, set_fake_quant
from winnow.reports.engine_comparison import comparison_text

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def deployed(run, *, quantized, **shape):
    """Write a run with a toy model and its deployment, without tokenizer; return its task."""
    data = toy_data()
    model = toy_model(data.task, num_hidden_layers=1).eval()
    if quantized:
        insert_fake_quant(model, list(quantizable(model)), weight_bits=8, per_channel=True, reduce_range=False)
        set_fake_quant(model, observer_enabled=True, fake_quant_enabled=True)
        model(**model.dummy_inputs)
    (run / "model").mkdir(parents=True)
    (run / "deployment").mkdir()
    save_model(model, data.tokenizer, run / "model")
    model = load_saved(run / "model", data.task)
    fixed = {"batch_size": None, "sequence_length": None, **shape}
    graph = run / "deployment" / "model.onnx"
    write_graph(model, graph, inputs=INPUTS, outputs=["logits"], opset=20, **fixed)
    ours = {"inputs": INPUTS, "outputs": ["logits"], "precision": "int8" if quantized else "float32", **fixed}
    config = json.loads((run / "model" / "config.json").read_text())
    (run / "deployment" / "config.json").write_text(json.dumps({**config, "winnow": ours}))
    return data.task


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(comparison, "_ROUNDS", 2)
    monkeypatch.setattr(comparison, "_SECONDS", 0)


def test_every_engine_runs_the_deployed_graph_and_the_float32_graph_in_its_precisions():
    both = ("onnxruntime", "openvino")
    assert ways("int8", sparse=True, engines=both, bfloat16=True) == [
        Way("onnxruntime", "float32"),
        Way("onnxruntime", "int8"),
        Way("openvino", "float32"),
        Way("openvino", "float32", "auto"),
        Way("openvino", "int8"),
        Way("openvino", "int8", "auto"),
        Way("openvino", "int8", "auto", skip_zeros=True),
    ]


def test_the_sparse_engine_runs_the_deployed_graph_only():
    listed = ways("int8", sparse=True, engines=("onnxruntime", "sparse"), bfloat16=False)
    assert [str(way) for way in listed] == [
        "onnxruntime, float32 graph",
        "onnxruntime, int8 graph",
        "sparse, int8 graph",
    ]


def test_a_deployment_with_a_graph_for_the_sparse_engine_is_measured_in_it(tmp_path, quick, monkeypatch, sparse_engine):
    monkeypatch.setattr(comparison, "find_spec", lambda name: name == "onnxruntime")
    monkeypatch.setattr(sparse_graph, "FEWEST_EMPTY", 0.0)
    task = deployed(tmp_path, quantized=True, batch_size=2, sequence_length=16)
    write_sparse_graph(tmp_path / "deployment")
    found = compare(tmp_path, task, opset=20, sparsity=0.8)
    assert list(found["batches"]["2"])[-1] == "sparse, int8 graph"
    assert found["machine"]["versions"].keys() == {"python", "onnxruntime"}


def test_ways_without_a_difference_are_not_measured():
    assert ways("float32", sparse=True, engines=("onnxruntime",), bfloat16=False) == [Way("onnxruntime", "float32")]
    dense = ways("int8", sparse=False, engines=("onnxruntime", "openvino"), bfloat16=False)
    assert [str(way) for way in dense] == [
        "onnxruntime, float32 graph",
        "onnxruntime, int8 graph",
        "openvino, float32 graph",
        "openvino, int8 graph",
    ]


def test_a_deployment_is_compared_with_the_float32_graph_of_its_model(tmp_path, quick, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(comparison, "has_bfloat16", lambda: False)  # so that the ways are the same on every processor
    task = deployed(tmp_path, quantized=True)
    found = compare(tmp_path, task, opset=20, sparsity=0.8)
    assert list(found["batches"]) == ["1", "32"]
    assert found["length"] == 64  # of the toy's positions
    assert found["machine"]["versions"].keys() == {"python", "onnxruntime", "openvino"}
    for timed in found["batches"].values():
        assert list(timed) == list(found["ways"])
        assert timed["onnxruntime, float32 graph"]["ratio"] == {"median": 1, "min": 1, "max": 1}
    skipping = [name for name, way in found["ways"].items() if way["skip_zeros"]]
    assert skipping
    assert all("skipping_zeros" in timed[name] for timed in found["batches"].values() for name in skipping)
    json.dumps(found)


def test_a_way_that_openvino_cannot_run_is_left_out_with_a_note(tmp_path, quick, monkeypatch, capsys):
    def opened(name, model, threads, precision, skip_zeros):
        if precision == "auto":
            raise UserError("no kernel")
        return open_engine("onnxruntime", model, threads)

    monkeypatch.setattr(comparison, "open_engine", opened)
    monkeypatch.setattr(comparison, "find_spec", lambda name: True)
    monkeypatch.setattr(comparison, "describe_machine", lambda engines, threads: {})
    monkeypatch.setattr(comparison, "has_bfloat16", lambda: True)
    found = compare(tmp_path, deployed(tmp_path, quantized=False), opset=20, sparsity=0.0)
    assert list(found["ways"]) == ["onnxruntime, float32 graph", "openvino, float32 graph"]
    assert capsys.readouterr().out == "note: openvino, float32 graph, bfloat16: not measured, no kernel\n"


def test_a_graph_of_fixed_shape_is_measured_in_it(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(comparison, "ENGINES", ("onnxruntime",))
    task = deployed(tmp_path, quantized=False, batch_size=2, sequence_length=16)
    found = compare(tmp_path, task, opset=20, sparsity=0.0)
    assert (list(found["batches"]), found["length"]) == (["2"], 16)
    assert list(found["ways"]) == ["onnxruntime, float32 graph"]


def compared(engines=("onnxruntime", "openvino"), **ratios):
    """A comparison with these ratios at batch 1, and half of them at batch 32, with 10 ms a call."""
    listed = ways("int8", sparse=True, engines=engines, bfloat16="openvino" in engines)

    def timed(factor):
        found = {}
        for way in listed:
            words = [way.engine, way.graph, *(["auto"] if way.precision == "auto" else [])]
            median = factor * ratios.get("_".join(words), 1.0)
            alike = {"median": median, "min": median, "max": median}
            found[str(way)] = {"latency": {"median": 0.01, "min": 0.01, "max": 0.01}, "throughput": 1, "ratio": alike}
            if way.skip_zeros:
                found[str(way)]["skipping_zeros"] = {"median": 0.9, "min": 0.88, "max": ratios.get("skipped", 1.0)}
        return found

    machine = {"cpu": "A CPU", "instruction_sets": ["avx2"], "threads": 1, "cores": 2, "load": 0.1, "versions": {}}
    batches = {"1": timed(1), "32": timed(0.5)}
    listed_plainly = {str(way): vars(way) for way in listed}
    return {"machine": machine, "length": 128, "ways": listed_plainly, "batches": batches}


def text(tmp_path, latency, sparsity=0.8):
    facts = {"precision": "int8", "bytes": 24_300_000, "compressed_bytes": 10_700_000, "latency": latency}
    return comparison_text({"sparsity": sparsity, "deployment": facts}, tmp_path)


def test_the_fastest_way_to_run_the_deployment_is_recommended(tmp_path):
    latency = compared(onnxruntime_int8=0.5, openvino_int8=0.4, openvino_int8_auto=0.25)
    assert fastest(latency, "1", "int8") == "openvino, int8 graph, bfloat16"
    lines = text(tmp_path, latency).splitlines()
    assert lines[0] == "speed on this machine, 128 random tokens"
    assert lines[2] == "A CPU (avx2), 1 thread on 2 cores, load before the start 0.1"
    assert (
        "Fastest here, relative to the float32 graph in ONNX Runtime: engine=openvino precision=auto, "
        "4.00 times at batch 1 and 8.00 times at batch 32."
    ) in lines
    assert f"python -m src.predict deployment={tmp_path} engine=openvino precision=auto" in lines


def test_the_sparse_engine_is_recommended_where_it_is_the_fastest(tmp_path):
    latency = compared(("onnxruntime", "openvino", "sparse"), openvino_int8_auto=0.25, sparse_int8=0.2)
    lines = text(tmp_path, latency).splitlines()
    assert any("engine=sparse, 5.00 times at batch 1 and 10.00 times at batch 32." in line for line in lines)
    assert f"python -m src.predict deployment={tmp_path} engine=sparse" in lines


def test_a_float32_graph_that_is_faster_is_named(tmp_path):
    said = "The float32 graph would be faster: openvino, float32 graph, bfloat16, 5.00 times; export a run that is"
    assert said in text(tmp_path, compared(openvino_float32_auto=0.2, openvino_int8_auto=0.25))
    assert "would be faster" not in text(tmp_path, compared(openvino_float32_auto=0.25, openvino_int8_auto=0.25))


def test_zeros_are_reported_as_faster_only_if_they_were(tmp_path):
    said = text(tmp_path, compared())
    assert "Zeros (80.00 % of the encoder) make downloads smaller: 24.3 MB are compressed to 10.7 MB." in said
    assert "OpenVINO is no faster here with its option to skip them: ratio 0.900 (0.880..1.00) at batch 1." in said
    assert "OpenVINO is faster here with its option to skip them" in text(tmp_path, compared(skipped=0.95))
    assert "Zeros" not in text(tmp_path, compared(), sparsity=0.01)


def test_openvino_is_suggested_where_it_is_missing(tmp_path):
    said = text(tmp_path, compared(engines=("onnxruntime",), onnxruntime_int8=0.5))
    assert "OpenVINO is not installed; it is often faster: pip install openvino." in said
    assert "engine=onnxruntime, 2.00 times at batch 1" in said
