"""Quantised models of several families for the sparse engine: what is rewritten, and that the outputs are the same."""

import copy
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.deployment.toys import family, inputs_of, quantized, rounded, written
from tests.engine.operators import session
from winnow.engine.graph_pass import DOMAIN, rewrite
from winnow.engine.quantized_graph import BLOCK
from winnow.models.quantized_model import insert_fake_quant, quantizable, set_fake_quant

PER_LAYER = 6  # query, key, value, output of attention, and two of the feed-forward network
ENCODER = ["Pack", *["SelfAttention", "LinearNorm", "LinearActivation", "LinearNorm"] * 2, "Unpack"]


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """Of a BERT of two layers."""
    return with_hidden_values(written(quantized(family("bert")), tmp_path_factory.mktemp("graph") / "model.onnx"))


def kinds(model):
    """The operators of the engine, in their order."""
    return [node.op_type for node in model.graph.node if node.domain == DOMAIN]


def stock(model):
    """The graph in the runtime without any optimisation: integers as floats, so that no sum saturates."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # no warnings of constants that a test has left without a reader
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def batch_of(model, rows, tokens):
    """Token ids; the sequences have random lengths, the first one all tokens."""
    rng = np.random.default_rng(rows * tokens)
    lengths = np.append(tokens, rng.integers(1, tokens + 1, rows - 1))
    made = {"attention_mask": (np.arange(tokens) < lengths[:, None]).astype(np.int64)}
    made["input_ids"] = np.where(made["attention_mask"], rng.integers(5, 60, (rows, tokens)), 1)
    made["token_type_ids"] = rng.integers(0, 2, (rows, tokens))
    return {each.name: made[each.name] for each in model.graph.input}


def assert_same_outputs(model, made, compiled, batches=((1, 1), (3, 7), (16, 20), (4, 64))):
    """Hidden values of tokens agree but for codes that single precision rounds to the other neighbour."""
    before, after = stock(model), session(made, compiled, threads=2)
    differences = []
    for shape in batches:
        batch = batch_of(model, *shape)
        expected, found = (each.run(None, batch)[-1] for each in (before, after))
        inside = batch["attention_mask"].astype(bool)
        differences.append(np.abs(found - expected)[inside].max(axis=-1) / expected[inside].std())
    difference = np.concatenate(differences)  # of each token, in standard deviations
    assert np.median(difference) < 0.01
    assert difference.max() < 0.15


def with_hidden_values(path):
    """A graph whose last output is that of the encoder."""
    model = onnx.load(path)
    name = [node.output[0] for node in model.graph.node if node.op_type == "LayerNormalization"][-1]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


def test_a_whole_encoder_is_rewritten(graph):
    made = rewrite(graph)
    assert len(made.packed) == 2 * PER_LAYER
    assert all(name.startswith("bert.encoder.layer.") for name in made.packed)
    assert (made.alone, made.empty_blocks) == ([], 0.0)
    assert kinds(made.model) == ENCODER


def test_a_rewritten_graph_keeps_its_inputs_and_outputs_and_the_original(graph):
    before = graph.SerializeToString()
    made = rewrite(graph).model
    assert graph.SerializeToString() == before
    assert made.graph.input == graph.graph.input
    assert made.graph.output == graph.graph.output
    assert not any(node.op_type == "MatMul" and "encoder" in node.name for node in made.graph.node)


def test_a_rewritten_graph_has_the_outputs_of_the_stock_graph(graph, compiled, instructions):
    assert_same_outputs(graph, rewrite(graph).model, compiled)


def test_kept_values_have_the_names_of_the_stock_graph(graph, compiled):
    names = [node.output[0] for node in graph.graph.node if node.op_type == "LayerNormalization"][1:]
    for model in (graph, rewrite(graph).model, rewrite(graph, keep_values=True).model):
        kept = [name for name in names if any(name in node.output for node in model.graph.node)]
        assert kept == (names[-1:] if len(kept) == 1 else names)
    made = copy.deepcopy(rewrite(graph, keep_values=True).model)
    first = copy.deepcopy(graph)
    for model in (made, first):
        model.graph.output.append(helper.make_tensor_value_info(names[0], TensorProto.FLOAT, None))
    assert_same_outputs(first, made, compiled)


def changed(graph, change):
    """A copy whose int8 weights of the encoder are changed."""
    model = copy.deepcopy(graph)
    for entry in model.graph.initializer:
        values = numpy_helper.to_array(entry)
        if values.dtype == np.int8 and values.ndim == 2 and "encoder" in entry.name:
            entry.CopyFrom(numpy_helper.from_array(change(entry.name, values.copy()), entry.name))
    return model


@pytest.mark.parametrize("empty", [0.5, 1.0])
def test_empty_blocks_are_counted_and_give_equal_outputs(graph, compiled, empty):
    rng = np.random.default_rng(0)

    def prune(name, weight):  # (inputs, outputs)
        weight[weight == 0] = 1
        kept = rng.permutation(weight.size // BLOCK) >= empty * (weight.size // BLOCK)
        return weight * np.repeat(kept.reshape(-1, weight.shape[1]), BLOCK, axis=0)

    pruned = changed(graph, prune)
    made = rewrite(pruned)
    assert made.empty_blocks == pytest.approx(empty, abs=0.01)
    assert_same_outputs(pruned, made.model, compiled)


def in_float(graph, module):
    """A copy in which the weight of a module is not quantised."""
    model = copy.deepcopy(graph)
    product = next(node for node in model.graph.node if node.name == f"{module}/MatMul")
    restored = next(node for node in model.graph.node if product.input[1] in node.output)
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    weight = constants[restored.input[0]].astype(np.float32) * constants[restored.input[1]]
    model.graph.node.remove(restored)
    model.graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), restored.output[0]))
    return model


@pytest.mark.parametrize(
    ("module", "packed"),
    [
        ("bert.encoder.layer.0.attention.self.key", 8),
        ("bert.encoder.layer.0.attention.output.dense", 8),
        ("bert.encoder.layer.0.intermediate.dense", 10),
        ("bert.encoder.layer.0.output.dense", 10),
        ("bert.encoder.layer.1.attention.self.query", 8),
        ("bert.encoder.layer.1.intermediate.dense", 10),
        ("bert.encoder.layer.1.output.dense", 10),
    ],
)
def test_a_layer_in_floating_point_stays_in_the_runtime(graph, compiled, module, packed):
    mixed = in_float(graph, module)
    made = rewrite(mixed)
    assert module not in made.packed
    assert len(made.packed) == packed
    assert "Unpack" in kinds(made.model)
    assert_same_outputs(mixed, made.model, compiled)


def test_a_sparse_layer_between_others_is_an_operator_on_its_own(graph, compiled):
    mixed = in_float(changed(graph, lambda name, weight: weight * 0), "bert.encoder.layer.0.attention.self.key")
    made = rewrite(mixed)
    assert {name.removeprefix("bert.encoder.layer.0.attention.") for name in made.alone} == {
        "self.query",
        "self.value",
        "output.dense",
    }
    assert kinds(made.model).count("Linear") == 3
    assert_same_outputs(mixed, made.model, compiled)


def test_nothing_is_rewritten_without_int8_linear_layers(graph):
    floats = copy.deepcopy(graph)
    for node in list(floats.graph.node):
        if node.op_type in ("MatMul", "Gemm"):
            floats.graph.node.remove(node)
    assert rewrite(floats) is None
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "weight")
    for node in (helper.make_node("MatMul", ["x", "weight"], ["y"]), helper.make_node("Relu", ["x"], ["y"])):
        model = helper.make_model(helper.make_graph([node], "plain", [x], [y], [weight]))
        assert rewrite(model) is None


def test_a_dense_layer_between_others_is_left_to_the_runtime():
    """A single quantised linear layer without zeros is not rewritten."""
    constants = {"scale": np.float32(0.1), "zero": np.uint8(3), "weight": np.ones((4, 4), np.int8)}
    constants["weight_zero"] = np.int8(0)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["weight", "scale", "weight_zero"], ["restored"]),
        helper.make_node("MatMul", ["rounded", "restored"], ["y"], name="linear/MatMul"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in "xy")
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(helper.make_graph(nodes, "linear", [x], [y], stored))
    assert rewrite(model) is None
    model.graph.initializer[2].CopyFrom(numpy_helper.from_array(np.zeros((4, 4), np.int8), "weight"))
    assert rewrite(model).alone == ["linear"]


FAMILIES = [
    ("bert", {}, {"opset": 18}),
    ("bert", {"per_channel": False, "reduce_range": True}, {}),
    ("roberta", {"per_channel": False}, {"batch_size": 4, "sequence_length": 12}),
    ("xlm-roberta", {"reduce_range": True}, {"sequence_length": 20}),
    ("distilbert", {"reduce_range": True}, {"opset": 18}),
    ("electra", {"weight_bits": 4}, {"batch_size": 4}),
    ("electra", {}, {"opset": 23}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings", "shape"), FAMILIES)
def test_the_encoder_of_every_family_is_rewritten(compiled, instructions, tmp_path, name, settings, shape):
    model = with_hidden_values(written(quantized(family(name), **settings), tmp_path / "model.onnx", **shape))
    made = rewrite(model)
    assert len(made.packed) == 2 * PER_LAYER
    assert not made.alone
    assert kinds(made.model) == ENCODER
    fixed = [(shape.get("batch_size", rows), shape.get("sequence_length", 20)) for rows in (1, 3, 16)]
    assert_same_outputs(model, made.model, compiled, fixed)
    for name in ("MatMul", "QuantizeLinear"):
        assert not any(node.op_type == name and ".layer." in node.name for node in made.model.graph.node)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("excluded", "packed"),
    [
        (r"layer\.0\.attention\.self$", 8),
        (r"layer\.1\.attention\.self\.query", 8),
        (r"layer\.0\.intermediate", 10),
        (r"layer\.0\.output\.dense", 10),
        ("embeddings", 12),
    ],
)
def test_an_excluded_module_stays_in_the_runtime(compiled, tmp_path, excluded, packed):
    model = family("bert")
    chosen = [name for name in quantizable(model) if not re.search(excluded, name)]
    insert_fake_quant(model, chosen, weight_bits=8, per_channel=True, reduce_range=False)
    set_fake_quant(model, observer_enabled=True, fake_quant_enabled=False)
    with torch.no_grad():
        for _ in range(4):
            model(**inputs_of(model, rows=8))
    graph = with_hidden_values(written(rounded(model), tmp_path / "model.onnx"))
    made = rewrite(graph)
    assert len(made.packed) == packed
    assert not any(re.search(excluded, name) for name in made.packed)
    assert_same_outputs(graph, made.model, compiled)
