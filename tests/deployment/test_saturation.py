import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from winnow.deployment.engines import OnnxRuntime
from winnow.deployment.saturation import PROBE, PROBE_INPUTS, PROBE_SUM, may_overflow


def probe():
    """The graph in PROBE; `onnx.save(probe(), PROBE)` writes it."""
    weights = {
        "one": np.array(1.0, dtype=np.float32),
        "zero": np.array(0, dtype=np.uint8),
        "weight_zero": np.array(0, dtype=np.int8),
        "weight": np.full((64, 16), 127, dtype=np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "one", "zero"], ["values"]),
        helper.make_node("DequantizeLinear", ["weight", "one", "weight_zero"], ["weight_values"]),
        helper.make_node("MatMul", ["values", "weight_values"], ["sums"]),
    ]
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 64])],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, [8, 16])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_file_of_the_probe_has_this_graph():
    assert onnx.load(PROBE) == probe()


def test_the_probe_is_exact_in_float32():
    (sums,) = OnnxRuntime(PROBE, threads=1, in_float=True).run(PROBE_INPUTS).values()
    assert (sums.shape, set(sums.reshape(-1).tolist())) == ((8, 16), {PROBE_SUM})


def test_without_onnx_every_graph_may_overflow(tmp_path, monkeypatch):
    graph = probe()
    graph.graph.node[0].op_type = "Identity"  # no activation is quantised
    onnx.save(graph, tmp_path / "model.onnx")
    assert not may_overflow(tmp_path / "model.onnx")
    monkeypatch.setattr("winnow.deployment.saturation.is_installed", lambda package: False)
    assert may_overflow(tmp_path / "model.onnx")
