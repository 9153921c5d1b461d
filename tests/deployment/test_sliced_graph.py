import copy

import onnx
import onnx_ir
import pytest
import torch

from tests.deployment.toys import deployed, inputs_of, written
from winnow.deployment.sliced_graph import sliced
from winnow.models.structures import remove_structures, structure_blocks


def cut(path, blocks, sizes, folder):
    """The path of the graph with smaller blocks."""
    smaller = folder / "smaller.onnx"
    onnx.save(onnx_ir.to_proto(sliced(onnx_ir.load(path), blocks, sizes)), smaller)
    onnx.checker.check_model(smaller, full_check=True)
    return smaller


def without(model, sizes):
    """The model with the first structures of each block; an empty one adds nothing."""
    smaller = copy.deepcopy(model)
    remove_structures(smaller, {block: list(range(sizes[block.kind])) for block in structure_blocks(model)})
    with torch.no_grad():
        for block in structure_blocks(model):
            if sizes[block.kind] == 0:
                smaller.get_parameter(f"{block.output}.bias").zero_()
    return smaller


@pytest.mark.parametrize("sizes", [{"heads": 1, "neurons": 8}, {"heads": 0, "neurons": 24}, {"heads": 2, "neurons": 0}])
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_cut_graph_computes_what_the_model_without_the_structures_computes(kind, sizes, float_graphs, tmp_path):
    model, path = float_graphs[kind]
    smaller = cut(path, structure_blocks(model), sizes, tmp_path)
    batch = inputs_of(model)
    with torch.no_grad():
        torch.testing.assert_close(deployed(smaller, batch), without(model, sizes)(**batch).logits)


def test_a_cut_graph_has_the_nodes_of_an_exported_one(float_graphs, tmp_path):
    model, path = float_graphs["bert"]
    sizes = {"heads": 1, "neurons": 0}
    graphs = (
        cut(path, structure_blocks(model), sizes, tmp_path),
        written(without(model, sizes), tmp_path / "model.onnx"),
    )
    found, expected = (sorted(node.op_type for node in onnx.load(graph).graph.node) for graph in graphs)
    assert found == expected


@pytest.mark.parametrize("sizes", [{"heads": 1, "neurons": 8}, {"heads": 0, "neurons": 4}, {"heads": 0, "neurons": 0}])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_cut_int8_graph_runs_with_smaller_integers(engine, sizes, pruned_encoder, sparse_folder, tmp_path):
    path = cut(sparse_folder / "model.onnx", structure_blocks(pruned_encoder), sizes, tmp_path)
    assert deployed(path, inputs_of(pruned_encoder), engine=engine).isfinite().all()
    shapes = [list(value.dims) for value in onnx.load(path).graph.initializer if ".layer.0." in value.name]
    expected = {(1, 8): [[8, 16]] * 2 + [[16, 8]] * 4, (0, 4): [[4, 16], [16, 4]], (0, 0): []}
    assert sorted(shape for shape in shapes if len(shape) == 2) == expected[sizes["heads"], sizes["neurons"]]
