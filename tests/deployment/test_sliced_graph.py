import copy

import onnx
import onnx_ir
import pytest
import torch

from tests.deployment.toys import deployed, family, inputs_of, quantized, written
from winnow.deployment.sliced_graph import sliced
from winnow.models.structures import remove_structures, structure_blocks


def first(block, size):
    return list(range(size))


def cut(path, blocks, sizes):
    """The path of the graph with smaller blocks."""
    onnx.save(onnx_ir.to_proto(sliced(onnx_ir.load(path), blocks, sizes)), smaller := path.with_name("smaller.onnx"))
    onnx.checker.check_model(smaller, full_check=True)
    return smaller


def operators(path):
    return sorted(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("sizes", [{"heads": 1, "neurons": 8}, {"heads": 0, "neurons": 24}, {"heads": 2, "neurons": 0}])
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra"])
def test_a_cut_graph_computes_what_the_model_without_the_structures_computes(kind, sizes, tmp_path):
    model = family(kind)
    blocks = structure_blocks(model)
    with torch.no_grad():
        for block in blocks:
            model.get_parameter(f"{block.output}.bias").zero_()  # that of an empty block is zero
    smaller = copy.deepcopy(model)
    remove_structures(smaller, {block: first(block, sizes[block.kind]) for block in blocks})
    for block in blocks:
        with torch.no_grad():
            if sizes[block.kind]:  # equal biases would be one constant
                for each in (model, smaller):
                    each.get_parameter(f"{block.output}.bias").fill_(0.1 * (1 + blocks.index(block)))
    path = cut(written(model, tmp_path / "model.onnx"), blocks, sizes)
    batch = inputs_of(model)
    with torch.no_grad():
        torch.testing.assert_close(deployed(path, batch), smaller(**batch).logits)
    assert operators(path) == operators(written(smaller, tmp_path / "exported.onnx"))


@pytest.mark.parametrize("sizes", [{"heads": 1, "neurons": 8}, {"heads": 0, "neurons": 4}, {"heads": 0, "neurons": 0}])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_cut_int8_graph_runs_with_smaller_integers(engine, sizes, tmp_path):
    model = quantized(family("bert", layers=1))
    blocks = structure_blocks(model)
    path = cut(written(model, tmp_path / "model.onnx"), blocks, sizes)
    assert deployed(path, inputs_of(model), engine=engine).isfinite().all()
    shapes = {value.name: list(value.dims) for value in onnx.load(path).graph.initializer}
    integers = sorted(shape for name, shape in shapes.items() if shape in ([8, 16], [16, 8], [4, 16], [16, 4]))
    expected = {(1, 8): [[8, 16]] * 2 + [[16, 8]] * 4, (0, 4): [[4, 16], [16, 4]], (0, 0): []}
    assert integers == expected[sizes["heads"], sizes["neurons"]]
