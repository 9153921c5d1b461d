import shutil
import signal
from pathlib import Path

import onnx
import pytest
import torch

from tests.deployment.toys import (
    STOCK_ENGINES,
    deployed,
    family,
    inputs_of,
    logits,
    quantized,
    stored,
    with_initialiser,
    without_structures,
    written,
)
from winnow.deployment import engines
from winnow.deployment.matmuls import executed_matmuls, matmul_report
from winnow.deployment.weights import compare_weights
from winnow.errors import StoppedError
from winnow.functional.nibbles import unpack
from winnow.models.structures import remove_structures, structure_blocks
from winnow.signals import stoppable

FIXED = {"batch": 8, "sequence": 32}
SHAPE = {"batch_size": 4, "sequence_length": 12}  # of inputs_of(model); exporting a fixed shape takes half the time


@pytest.fixture(scope="module")
def model():
    return family("bert")


@pytest.fixture(scope="module")
def graph(model, tmp_path_factory):
    return written(model, tmp_path_factory.mktemp("graph") / "model.onnx")


@pytest.fixture(scope="module")
def integer_model():
    return quantized(family("bert"))


@pytest.fixture(scope="module")
def integer_graph(integer_model, tmp_path_factory):
    return written(integer_model, tmp_path_factory.mktemp("graph") / "model.onnx")


@pytest.mark.parametrize(("rows", "tokens"), [(1, 7), (2, 9), (5, 64)])
def test_a_graph_has_the_outputs_of_its_model_for_any_batch(model, graph, rows, tokens):
    batch = inputs_of(model, rows, tokens)
    torch.testing.assert_close(deployed(graph, batch), logits(model, batch), rtol=1e-4, atol=1e-5)


def test_a_quantised_graph_has_the_outputs_of_its_model(integer_model, integer_graph):
    batch = inputs_of(integer_model, 16, 20)
    difference = deployed(integer_graph, batch) - logits(integer_model, batch)
    assert difference.abs().median() < 1e-5  # some rows differ where a number rounds to another integer


def test_a_fixed_shape_is_that_of_the_graph(model, tmp_path):
    path = written(model, tmp_path / "model.onnx", batch_size=3, sequence_length=17)
    dims = [d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
    batch = inputs_of(model, 3, 17)
    assert dims == [3, 17]
    torch.testing.assert_close(deployed(path, batch), logits(model, batch), rtol=1e-4, atol=1e-5)


def test_one_dimension_may_be_fixed(model, tmp_path):
    path = written(model, tmp_path / "model.onnx", sequence_length=17)
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert (dims[0].dim_param, dims[1].dim_value) == ("batch", 17)


def test_float16_is_half_the_size_and_its_outputs_are_float32(model, tmp_path):
    path = written(model, tmp_path / "half.onnx", half=True, **SHAPE)
    batch = inputs_of(model)
    assert stored(path)["bert.pooler.dense.weight"].dtype == torch.float16
    assert onnx.load(path).graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    torch.testing.assert_close(deployed(path, batch), logits(model, batch), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["modernbert", "eurobert"])  # local attention; fewer heads of keys than of queries
def test_attention_unlike_that_of_bert_is_the_same_in_the_graph(tmp_path, name):
    model = family(name)
    path, batch = written(model, tmp_path / "model.onnx", **SHAPE), inputs_of(model)
    torch.testing.assert_close(deployed(path, batch), logits(model, batch), rtol=1e-4, atol=1e-5)
    path = written(integers := quantized(model), tmp_path / "integers.onnx", **SHAPE)
    assert (deployed(path, batch) - logits(integers, batch)).abs().median() < 1e-5


def test_a_layer_that_runs_twice_has_twice_its_matmuls_in_int8(tmp_path):
    model = quantized(family("albert"))
    report = matmul_report(model, written(model, tmp_path / "model.onnx"), longest=12)
    assert report["expected_int8"] == 19  # 2 x 6 of the layer, 3 around it, 2 x 2 of attention
    for shape in ("as_exported", "fixed_shape"):
        assert (report[shape]["int8"], report[shape]["in_float"]) == (19, [])


def test_large_weights_are_stored_in_a_second_file(model, graph, tmp_path):
    path = written(model, tmp_path / "model.onnx", external_data_above=1000, **SHAPE)
    batch = inputs_of(model)
    assert (tmp_path / "model.onnx.data").stat().st_size > 10_000
    assert path.stat().st_size < graph.stat().st_size
    assert not (graph.parent / "model.onnx.data").exists()
    assert torch.equal(deployed(path, batch), deployed(graph, batch))


@pytest.mark.parametrize("opset", [18, 23])
def test_the_opset_is_configurable(model, tmp_path, opset):
    path = written(model, tmp_path / "model.onnx", opset=opset, **SHAPE)
    batch = inputs_of(model)
    assert onnx.load(path).opset_import[0].version == opset
    torch.testing.assert_close(deployed(path, batch), logits(model, batch), rtol=1e-4, atol=1e-5)


def test_a_signal_waits_until_torch_has_made_the_graph(model, tmp_path, monkeypatch):
    make, made = torch.onnx.export, []

    def signalled(*args, **kwargs):
        signal.raise_signal(signal.SIGTERM)
        made.append(make(*args, **kwargs))
        return made[0]

    monkeypatch.setattr(torch.onnx, "export", signalled)
    with pytest.raises(StoppedError), stoppable("again"):
        written(model, tmp_path / "model.onnx")
    assert made


def test_nodes_and_weights_are_named_after_their_modules(graph):
    content = onnx.load(graph)
    query = "bert.encoder.layer.1.attention.self.query"
    assert {f"{query}/MatMul", f"{query}/Add"} <= {node.name for node in content.graph.node}
    assert {f"{query}.weight", f"{query}.bias"} <= {entry.name for entry in content.graph.initializer}
    assert len({node.name for node in content.graph.node}) == len(content.graph.node)


def test_a_graph_contains_no_local_paths(integer_graph):
    assert b"/src/" not in integer_graph.read_bytes()
    assert b".py" not in integer_graph.read_bytes()


@pytest.mark.parametrize(
    ("name", "head", "matmuls"),
    [
        ("bert", "TokenClassification", 9),
        ("roberta", "QuestionAnswering", 9),
        ("distilbert", "SequenceClassification", 10),
        ("electra", "SequenceClassification", 11),
    ],
)
def test_every_matmul_runs_in_int8_in_any_shape_and_in_a_fixed_one(tmp_path, name, head, matmuls):
    model = quantized(family(name, head, layers=1))
    assert_int8_matmuls(written(model, tmp_path / "model.onnx", head), matmuls)


def test_every_matmul_of_several_layers_runs_in_int8(integer_graph):
    assert_int8_matmuls(integer_graph, 18)


def assert_int8_matmuls(path, matmuls):
    for shape in ({}, FIXED):
        count = executed_matmuls(path, shape)
        assert (count.int8, count.floating) == (matmuls, 0), count.modules


def test_weights_are_stored_as_integers(integer_model, integer_graph):
    dense, values = integer_model.bert.pooler.dense, stored(integer_graph)
    codes = dense.weight_quantizer.codes(dense.weight.detach()).to(torch.int8)
    assert torch.equal(values["bert.pooler.dense.weight"].t(), codes)
    assert torch.equal(values["bert.pooler.dense.bias"], dense.bias_codes())
    assert values["bert.embeddings.word_embeddings.weight"].dtype == torch.int8
    assert not [name for name, v in values.items() if v.dtype == torch.float32 and v.ndim > 1]


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory):
    """Models and their graphs: with three blocks in a row, in a fixed shape, and with rows too short for a block."""

    def deployed_with(name, sizes, **shape):
        # sums that cannot overflow are computed in integers also on processors without VNNI
        model = quantized(family(name, layers=1, **sizes), embedding_bits=4, reduce_range=True)
        return model, written(model, tmp_path_factory.mktemp(name) / "model.onnx", **shape)

    return {
        "bert": deployed_with("bert", {"hidden_size": 48}),
        "roberta": deployed_with("roberta", {}, **SHAPE),
        "electra": deployed_with("electra", {}, **SHAPE),
    }


@pytest.mark.parametrize("name", ["bert", "roberta", "electra"])  # RoBERTa has token types of one row
def test_rows_of_four_bits_are_looked_up_with_their_scales(four_bits, name):
    model, path = four_bits[name]
    report = compare_weights(model, path)
    assert report.pop("zeros") > 0
    assert report == {"zeros_lost": 0, "differ": [], "in_float": []}
    batch = inputs_of(model)
    # OpenVINO's kernels for AVX2 crash with the narrow projection of this ELECTRA, whose rows are not packed
    for engine in STOCK_ENGINES if name != "electra" else ("onnxruntime",):
        assert (deployed(path, batch, engine=engine) - logits(model, batch)).abs().median() < 1e-5


def test_two_integers_of_four_bits_are_in_a_byte_where_the_width_of_a_row_is_a_multiple_of_16(four_bits):
    model, path = four_bits["bert"]
    words, values = model.bert.embeddings.word_embeddings, stored(path)
    packed = values["bert.embeddings.word_embeddings.weight"]
    assert (packed.dtype, packed.shape) == (torch.uint8, (60, 24))
    assert torch.equal(unpack(packed), words.weight_quantizer.codes(words.weight.detach()).to(torch.int8))
    scales = values["bert.embeddings.word_embeddings.weight_scale.scale"]
    assert torch.equal(scales, words.weight_quantizer.scale.unsqueeze(1).expand(60, 3))
    short = stored(four_bits["electra"][1])["electra.embeddings.word_embeddings.weight"]
    assert (short.dtype, short.shape, int(short.min()), int(short.max())) == (torch.int8, (60, 8), -8, 7)


def test_a_changed_scale_of_one_block_and_a_changed_integer_are_found_in_each_embedding(four_bits, tmp_path):
    model, graph = four_bits["bert"]
    for tensor in ("weight_scale.scale", "weight"):
        path, changed = Path(shutil.copy(graph, tmp_path)), []
        for module in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
            changed.append(f"bert.embeddings.{module}.{tensor}")
            value = stored(path)[changed[-1]]
            value[1, -1] = value[1, -1] * 1.01 if value.is_floating_point() else value[1, -1] ^ 16
            with_initialiser(path, changed[-1], value)
            assert compare_weights(model, path)["differ"] == changed


def test_query_key_and_value_share_their_quantised_input(integer_graph):
    nodes = onnx.load(integer_graph).graph.node
    rounding = [node for node in nodes if node.op_type == "QuantizeLinear"]
    matmuls = sum(node.op_type == "MatMul" for node in nodes)
    # per layer: 1 input for query, key and value, 3 for the other linear layers, 4 for the matmuls of attention
    assert len(rounding) == 2 * (1 + 3 + 4) + 2
    assert matmuls == 18


def test_a_reduced_range_clips_as_the_model_does(tmp_path):
    model = quantized(family("bert", layers=1), reduce_range=True, per_channel=False, embedding_per_row=False)
    model.bert.pooler.dense.input_quantizer.scale.div_(8)  # far too small: most inputs lie outside the grid
    path = written(model, tmp_path / "model.onnx")
    batch = inputs_of(model, 16)
    assert (deployed(path, batch) - logits(model, batch)).abs().median() < 1e-5


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    """A model of a reduced range and its graph."""
    model = quantized(family("bert", layers=1), reduce_range=True)
    return model, written(model, tmp_path_factory.mktemp("reduced") / "model.onnx")


@pytest.mark.parametrize("engine", STOCK_ENGINES)
def test_where_integer_sums_overflow_a_graph_is_computed_in_float32_unless_its_range_is_reduced(
    integer_model, integer_graph, reduced, monkeypatch, capsys, engine
):
    pytest.importorskip(engine)
    opened = []
    monkeypatch.setattr(engines, "_saturates", lambda name: True)  # a processor without VNNI
    monkeypatch.setattr(engines, "_open", lambda *args, open_one=engines._open: opened.append(args) or open_one(*args))
    engines._warn_of_overflow.cache_clear()
    for model, path in ((integer_model, integer_graph), reduced):
        batch = inputs_of(model, 16, 20)
        assert (deployed(path, batch, engine=engine) - logits(model, batch)).abs().median() < 1e-3
    assert [in_float for *_, in_float, _ in opened] == [True, False]
    note = capsys.readouterr().err
    assert f"note: int8 sums of {engine} may overflow on this processor" in note
    assert note.count("\n") == 1


@pytest.mark.parametrize("which", ["graph", "integer_graph"])
def test_openvino_loads_it_too(which, request):
    pytest.importorskip("openvino", reason="OpenVINO is an extra")
    model = request.getfixturevalue("model" if which == "graph" else "integer_model")
    batch = inputs_of(model, 16)
    found = deployed(request.getfixturevalue(which), batch, engine="openvino")
    assert (found - logits(model, batch)).abs().median() < 1e-3


@pytest.fixture(scope="module")
def small():
    return without_structures(family("bert", layers=3))


def test_a_graph_without_heads_and_neurons_has_the_outputs_of_its_model_in_each_engine(small, tmp_path):
    path, batch = written(small, tmp_path / "model.onnx", **SHAPE), inputs_of(small)
    for engine in STOCK_ENGINES:
        torch.testing.assert_close(deployed(path, batch, engine=engine), logits(small, batch), rtol=1e-5, atol=1e-6)
    assert compare_weights(small, path)["differ"] == []
    bias = small.bert.encoder.layer[1].attention.output.dense.bias.detach()  # of a layer without heads
    name = next(name for name, value in stored(path).items() if torch.equal(value, bias))
    with_initialiser(path, name, bias + 1)
    assert compare_weights(small, path)["differ"] == ["bert.encoder.layer.1.attention.output.dense.bias"]


def test_a_quantised_graph_without_heads_and_neurons_has_the_outputs_of_its_model_in_each_engine(tmp_path):
    model = quantized(without_structures(family("bert", layers=3)))
    path, batch = written(model, tmp_path / "model.onnx", **SHAPE), inputs_of(model)
    for engine in STOCK_ENGINES:
        assert (deployed(path, batch, engine=engine) - logits(model, batch)).abs().median() < 1e-5
    assert compare_weights(model, path) | {"zeros": 0} == {"zeros": 0, "zeros_lost": 0, "differ": [], "in_float": []}
    report = matmul_report(model, path, longest=12)
    assert report["expected_int8"] == report["as_exported"]["int8"] == report["fixed_shape"]["int8"] == 18


def test_a_model_of_empty_blocks_only_has_a_graph(tmp_path):
    model = family("bert")
    remove_structures(model, {block: [] for block in structure_blocks(model)})
    path, batch = written(quantized(model), tmp_path / "model.onnx", **SHAPE), inputs_of(model)
    for engine in STOCK_ENGINES:
        assert (deployed(path, batch, engine=engine) - logits(model, batch)).abs().median() < 1e-5


def test_a_graph_with_smoothed_inputs_has_the_outputs_of_its_model_in_each_engine(tmp_path):
    model = quantized(family("bert", layers=1), smoothed=True)
    path, batch = written(model, tmp_path / "model.onnx", **SHAPE), inputs_of(model)
    for engine in STOCK_ENGINES:
        assert (deployed(path, batch, engine=engine) - logits(model, batch)).abs().median() < 1e-5
    assert compare_weights(model, path)["differ"] == []
    report = matmul_report(model, path, longest=12)
    assert report["expected_int8"] == report["as_exported"]["int8"] == report["fixed_shape"]["int8"] == 10
    factors = [name for name in stored(path) if name.endswith(".smoothing")]
    assert len([name for name in factors if ".self." in name]) == 1  # query, key and value share their quantised input
    with_initialiser(path, factors[0], stored(path)[factors[0]] + 0.1)
    assert factors[0] in compare_weights(model, path)["differ"]
