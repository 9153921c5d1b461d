import numpy as np
import pytest
import torch
from onnx import numpy_helper

from tests.deployment.toys import rounded, stored, with_float_bias, with_initialiser, written
from tests.toys import toy_model, toy_task, typed_data
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.deployment import sparse_graph
from winnow.deployment.samples import real_inputs
from winnow.deployment.sparse_graph import write_sparse_graph
from winnow.deployment.verification import metric_failures, verify
from winnow.engine.graph_pass import rewrite
from winnow.files.checksums import sha256
from winnow.models.quantized_model import insert_fake_quant, quantizable, set_fake_quant

QUERY = "bert.encoder.layer.1.attention.self.query"


@pytest.fixture(scope="module")
def samples():
    task = toy_task()
    data = typed_data(generator="winnow.data.demo.reviews", label_column="label", text_columns=["text"])
    return real_inputs(task, tiny_tokenizer(), data, limit=200)


@pytest.fixture(scope="module")
def model(samples):
    return calibrated(samples)


def calibrated(samples, **settings):
    """A quantised model with weights so large that the logits of texts differ."""
    model = toy_model(samples.task).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    insert_fake_quant(model, list(quantizable(model)), weight_bits=8, per_channel=True, reduce_range=False, **settings)
    set_fake_quant(model, observer_enabled=True, fake_quant_enabled=False)
    with torch.no_grad():
        for batch in samples.batches[:20]:
            samples.task.outputs(model, batch)
    return rounded(model)


@pytest.fixture
def graph(model, tmp_path, faithful):
    path = tmp_path / "model.onnx"
    path.write_bytes(faithful.read_bytes())
    return path


@pytest.fixture(scope="module")
def faithful(model, tmp_path_factory):
    return written(model, tmp_path_factory.mktemp("faithful") / "model.onnx")


def test_a_faithful_graph_passes_with_a_complete_report(model, samples, faithful):
    report = verify(model, faithful, samples)
    assert report["failures"] == []
    assert report["first_divergence"] is None
    assert report["samples"]["inputs"] == 200
    assert report["samples"]["batch_sizes"][:6] == [1, 2, 4, 8, 16, 32]
    assert report["logits"]["mean_difference"] <= report["logits"]["allowed_mean_difference"]
    assert report["metrics"]["onnxruntime"] == report["metrics"]["pytorch"]
    assert sum(report["predictions"]["pytorch"].values()) == 200
    assert report["matmuls"]["as_exported"]["int8"] == report["matmuls"]["fixed_shape"]["int8"] == 18
    assert report["weights"].pop("zeros") > 0
    assert report["weights"] == {"zeros_lost": 0, "differ": [], "in_float": []}


def test_a_graph_with_embeddings_of_four_bits_passes_as_well(samples, tmp_path):
    model = calibrated(samples, embedding_bits=4)
    report = verify(model, written(model, tmp_path / "model.onnx"), samples)
    assert report["failures"] == []
    assert report["first_divergence"] is None
    assert report["metrics"]["onnxruntime"] == report["metrics"]["pytorch"]


@pytest.mark.parametrize("factor", [1.02, 2.0])
@pytest.mark.parametrize("scale", ["weight_scale.scale", "input.scale"])
def test_a_changed_scale_is_found_at_its_module(model, samples, graph, scale, factor):
    name = f"{QUERY}.{scale}"
    with_initialiser(graph, name, stored(graph)[name] * factor)
    report = verify(model, graph, samples)
    assert report["weights"]["differ"][0] == name
    assert report["failures"][-1].startswith(f"weights differ from the model: {name}")
    assert report["first_divergence"]["module"] == QUERY


def test_a_very_wrong_scale_changes_the_logits(model, samples, graph):
    name = f"{QUERY}.input.scale"
    with_initialiser(graph, name, stored(graph)[name] * 2)
    assert "the logits differ by" in verify(model, graph, samples)["failures"][0]


@pytest.fixture
def sparse(faithful, tmp_path, sparse_engine, monkeypatch):
    """The graph for the sparse engine, written from the graph of a model without empty blocks."""
    monkeypatch.setattr(sparse_graph, "FEWEST_EMPTY", 0.0)
    (tmp_path / "model.onnx").write_bytes(faithful.read_bytes())
    return write_sparse_graph(tmp_path)


def test_the_graph_for_the_sparse_engine_is_verified_on_the_same_inputs(model, samples, faithful, sparse):
    report = verify(model, faithful, samples, sparse=sparse)
    found = report["sparse"]
    assert (report["failures"], found["failures"], found["first_divergence"]) == ([], [], None)
    assert found["sha256"] == sha256(sparse.path)
    assert (found["packed"], found["alone"], found["instruction_set"]) == (12, 0, sparse.instruction_set)
    assert found["logits"]["mean_difference"] <= found["logits"]["allowed_mean_difference"]
    assert found["logits"]["control_mean_difference"] == report["logits"]["control_mean_difference"]
    assert found["metrics"]["pytorch"] == report["metrics"]["pytorch"]
    assert sum(found["predictions"]["sparse"].values()) == 200
    assert found["predictions"]["agreement"] > 0.99
    assert found["predictions"]["agreement_with_onnxruntime"] > 0.99


def test_a_wrong_graph_for_the_sparse_engine_fails_alone_with_its_first_module(
    model, samples, faithful, sparse, monkeypatch
):
    """The scales of one matrix are wrong."""

    def wrong(graph, **settings):
        made = rewrite(graph, **settings)
        for value in made.model.graph.initializer:
            if value.name == "sparse.bert.encoder.layer.1.attention.output.dense.weight.scales":
                value.CopyFrom(numpy_helper.from_array(np.float32(1.5) * numpy_helper.to_array(value), value.name))
        return made

    monkeypatch.setattr(sparse_graph, "rewrite", wrong)
    report = verify(model, faithful, samples, sparse=write_sparse_graph(sparse.path.parent))
    assert report["failures"] == []
    assert "the logits differ by" in report["sparse"]["failures"][0]
    assert report["sparse"]["first_divergence"]["module"] == "bert.encoder.layer.1.attention.output.LayerNorm"


def test_a_graph_that_the_sparse_engine_cannot_open_fails_alone(model, samples, faithful, sparse):
    sparse.path.write_bytes(sparse.path.read_bytes()[:9000])
    report = verify(model, faithful, samples, sparse=sparse)
    assert report["failures"] == []
    (failure,) = report["sparse"]["failures"]
    assert "model.sparse.onnx could not be read by sparse and may be damaged" in failure


def test_a_changed_grid_of_attention_is_found_at_its_module(model, samples, graph):
    name = "bert.encoder.layer.0.attention.self.products.probabilities.scale"
    with_initialiser(graph, name, stored(graph)[name] * 1.1)
    found = verify(model, graph, samples)["first_divergence"]["module"]
    assert found == "bert.encoder.layer.0.attention.self.products.probabilities"


def test_a_bias_in_float_is_named_although_the_logits_are_correct(model, samples, graph):
    dense = "bert.encoder.layer.1.intermediate.dense"
    with_float_bias(graph, dense)
    report = verify(model, graph, samples)
    assert report["matmuls"]["as_exported"]["int8"] == 18  # the graph that users load
    assert report["matmuls"]["fixed_shape"]["in_float"] == [dense]
    assert report["failures"] == [
        f"in a fixed shape 17 of 18 matmuls run in int8, and in floating point {dense}",
        f"stored in floating point instead of integers: {dense}.bias",
    ]


def test_a_bias_in_float_is_named_if_its_matmul_stays_in_int8(model, samples, graph):
    with_float_bias(graph, QUERY)
    report = verify(model, graph, samples)
    assert report["matmuls"]["fixed_shape"]["int8"] == 18
    assert report["failures"] == [f"stored in floating point instead of integers: {QUERY}.bias"]


def test_weights_that_differ_from_the_model_are_named(model, samples, graph):
    weight = stored(graph)[f"{QUERY}.weight"]
    weight[0, 0] += 1
    with_initialiser(graph, f"{QUERY}.weight", weight)
    report = verify(model, graph, samples)
    assert f"weights differ from the model: {QUERY}.weight" in report["failures"]


def test_lost_zeros_are_counted(model, samples, graph):
    lost = model.get_submodule(QUERY)
    kept = lost.weight.detach().clone()
    with torch.no_grad():
        lost.weight[:, 0] = 0  # the graph has other weights there
    report = verify(model, graph, samples)
    with torch.no_grad():
        lost.weight.copy_(kept)
    assert report["weights"]["zeros_lost"] == 16
    assert "16 zeros of the model are not zero in the graph" in report["failures"]


def with_cancelling_logits(model, samples):
    """Nearly the same pooled output for each text, whose large terms the bias of the classifier cancels."""
    norm = model.bert.encoder.layer[-1].output.LayerNorm
    with torch.no_grad():
        norm.weight.fill_(1e-4)
        for parameter in (norm.bias, model.bert.pooler.dense.weight, model.classifier.weight):
            parameter.normal_()
        model.classifier.bias.sub_(samples.task.outputs(model, samples.batches[0]).logits[0])
    return model


def test_a_float_graph_passes_although_its_logits_cancel_but_not_with_another_weight(samples, tmp_path):
    model = with_cancelling_logits(toy_model(samples.task, num_hidden_layers=1).eval(), samples)
    path = written(model, tmp_path / "model.onnx")
    assert verify(model, path, samples)["failures"] == []
    name = "bert.pooler.dense.weight"
    with_initialiser(path, name, stored(path)[name] * 1.01)
    report = verify(model, path, samples)
    assert report["first_divergence"]["module"] == "bert.pooler.dense"
    assert report["matmuls"]["expected_int8"] == 0


def test_float16_is_compared_with_the_float32_model(samples, tmp_path):
    model = toy_model(samples.task, num_hidden_layers=1).eval()
    report = verify(model, written(model, tmp_path / "model.onnx", half=True), samples, half=True)
    assert report["failures"] == []
    assert report["logits"]["control"] == "the model in float16"
    assert report["logits"]["mean_difference"] > 1e-6


def accuracies(pytorch, graph):
    return {"pytorch": {"accuracy": pytorch}, "onnxruntime": {"accuracy": graph}}


@pytest.mark.parametrize(
    ("examples", "apart", "unlike", "control_unlike", "passes"),
    [
        (872, 3 / 872, 4, 0, True),  # one is expected, and a count of 1 has a standard deviation of 1
        (872, 4 / 872, 4, 0, False),
        (872, 4 / 872, 6, 2, True),  # the control has 2, and a count of 2 has a standard deviation of 1.4
        (872, 5 / 872, 6, 2, False),
        (872, 0.5, 1, 0, True),  # the same example may be worth more in another metric
        (100, 1 / 100, 2, 0, True),
        (100, 2 / 100, 2, 0, False),
        (1744, 4 / 1744, 9, 0, True),  # two are expected
        (1744, 5 / 1744, 9, 0, False),
        (872, float("nan"), 9, 0, False),
    ],
)
def test_metrics_may_differ_by_two_standard_deviations_more_than_one_example_in_872(
    examples, apart, unlike, control_unlike, passes
):
    metrics = accuracies(0.5, 0.5 + apart)
    failures = metric_failures(metrics, examples=examples, unlike=unlike, control_unlike=control_unlike)
    assert (not failures) == passes


@pytest.mark.parametrize(
    ("pytorch", "deployed", "passes"), [(None, None, True), (None, 0.5, False), (0.5, None, False)]
)
def test_a_metric_without_a_value_must_have_none_in_both(pytorch, deployed, passes):
    failures = metric_failures(accuracies(pytorch, deployed), examples=872, unlike=5, control_unlike=0)
    assert (not failures) == passes


def test_metrics_of_answers_are_percentages():
    metrics = {name: {"exact_match": value} for name, value in (("pytorch", 50.0), ("onnxruntime", 50.18))}
    assert not metric_failures(metrics, examples=872, unlike=5, control_unlike=0)
    assert metric_failures(metrics, examples=8720, unlike=50, control_unlike=0) == []
    metrics["onnxruntime"]["exact_match"] = 50.4
    assert metric_failures(metrics, examples=872, unlike=5, control_unlike=0)
