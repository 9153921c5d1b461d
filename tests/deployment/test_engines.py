import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.deployment.toys import (
    STOCK_ENGINES,
    deployed,
    inputs_of,
    logits,
    stored,
    with_initialiser,
)
from winnow.deployment import engines
from winnow.deployment.engines import check_deployed, open_engine
from winnow.engine.library import LIBRARY
from winnow.errors import UserError
from winnow.files.conf_folder import CONF


def graph(path, element=TensorProto.FLOAT):
    """logits = ids / 2."""
    shape = ["batch", "sequence"]
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["number"], to=element),
        helper.make_node("Div", ["number", "two"], ["logits"]),
    ]
    two = helper.make_tensor("two", element, [], [2.0])
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)
    logits = helper.make_tensor_value_info("logits", element, shape)
    made = helper.make_graph(nodes, "half", [ids], [logits], [two])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize("name", STOCK_ENGINES)
@pytest.mark.parametrize("element", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_an_engine_returns_every_output_by_name_in_float32(tmp_path, name, element):
    pytest.importorskip(name)
    engine = open_engine(name, graph(tmp_path / "model.onnx", element), threads=1)
    found = engine.run({"input_ids": np.array([[1, 2, 3], [4, 5, 6]])})
    assert (engine.inputs, engine.outputs) == (["input_ids"], ["logits"])
    assert list(found) == ["logits"]
    assert found["logits"].dtype == np.float32
    assert found["logits"].tolist() == [[0.5, 1.0, 1.5], [2.0, 2.5, 3.0]]


@pytest.mark.parametrize("name", STOCK_ENGINES)
def test_outputs_do_not_change_with_the_next_run(tmp_path, name):
    pytest.importorskip(name)
    engine = open_engine(name, graph(tmp_path / "model.onnx"))
    first = engine.run({"input_ids": np.array([[2]])})
    engine.run({"input_ids": np.array([[8]])})
    assert first["logits"].tolist() == [[1.0]]


@pytest.mark.parametrize(("pair", "saturates"), [(2 * 255 * 127, False), (2**15 - 1, True)])
def test_an_engine_whose_int8_sums_saturate_is_detected(monkeypatch, pair, saturates):
    """Each sum of the probe has 32 pairs of products: 255 * 127 twice, or the largest number of 16 bits."""
    sums = SimpleNamespace(run=lambda inputs: {"sums": np.full((8, 16), 32.0 * pair)})
    monkeypatch.setattr(engines, "_open", lambda name, path, threads: sums)
    assert engines._saturates.__wrapped__("onnxruntime") == saturates


def test_an_unknown_engine_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"engine=onnxruntim: choose .* Did you mean 'onnxruntime'"):
        open_engine("onnxruntim", tmp_path / "model.onnx")


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(UserError, match="precision=int8: choose float32 or auto"):
        open_engine("openvino", tmp_path / "model.onnx", precision="int8")


def test_an_engine_that_is_not_installed_is_named_with_the_other(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"openvino is not installed; .* choose engine=onnxruntime"):
        open_engine("openvino", graph(tmp_path / "model.onnx"))


@pytest.mark.parametrize("name", STOCK_ENGINES)
@pytest.mark.parametrize("content", [b"", b"no graph", None])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, name, content, capfd):
    pytest.importorskip(name)
    path = graph(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    with pytest.raises(UserError, match=f"model.onnx could not be read by {name} and may be damaged") as refused:
        open_engine(name, path)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", STOCK_ENGINES)
def test_an_engine_that_is_too_old_for_embeddings_of_four_bits_is_named_with_the_version_that_is_not(
    tmp_path, monkeypatch, name
):
    pytest.importorskip(name)
    path = graph(tmp_path / "model.onnx")
    model = onnx.load(path)
    model.graph.node[0].op_type, model.graph.node[0].domain = "GatherBlockQuantized", "com.microsoft"
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)  # no version accepts this node
    with pytest.raises(UserError, match="may be damaged"):
        open_engine(name, path)
    monkeypatch.setitem(engines.FOUR_BITS, name, (9999, 1))
    with pytest.raises(UserError, match=rf"embeddings of 4 bits, .* does not know; pip install '{name}>=9999.1'"):
        open_engine(name, path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        open_engine("onnxruntime", tmp_path / "model.onnx")


def test_the_sparse_engine_has_the_outputs_of_the_model(pruned_encoder, sparse_folder):
    batch = inputs_of(pruned_encoder, 16, 20)
    difference = deployed(sparse_folder / "model.sparse.onnx", batch, engine="sparse") - logits(pruned_encoder, batch)
    assert difference.abs().median() < 1e-5  # some rows differ where a number rounds to another integer


def test_matmuls_between_the_sparse_operators_are_exact_where_sums_overflow(
    pruned_encoder, sparse_folder, monkeypatch, capsys
):
    monkeypatch.setattr(engines, "_saturates", lambda name: name == "onnxruntime")
    engine = open_engine("sparse", sparse_folder / "model.sparse.onnx", threads=1)
    assert engine.session.get_session_options().get_session_config_entry("session.disable_quant_qdq") == "1"
    batch = inputs_of(pruned_encoder, 16, 20)
    found = engine.run({name: values.numpy() for name, values in batch.items()})["logits"]
    assert np.median(np.abs(found - logits(pruned_encoder, batch).numpy())) < 1e-5
    assert capsys.readouterr().err == ""


def test_the_library_in_a_deployment_is_never_loaded(sparse_folder, tmp_path):
    """It may come from anybody."""
    folder = shutil.copytree(sparse_folder, tmp_path / "deployment")
    open_engine("sparse", folder / "model.sparse.onnx")
    assert str(folder) not in Path("/proc/self/maps").read_text()
    (folder / LIBRARY).write_bytes(b"no library")
    open_engine("sparse", folder / "model.sparse.onnx")


def test_a_deployment_without_a_sparse_graph_is_refused_with_what_makes_one(tmp_path):
    for refused in (lambda: check_deployed(tmp_path, "sparse"), lambda: open_engine("sparse", tmp_path / "a.onnx")):
        with pytest.raises(UserError, match=r"there is no model.sparse.onnx .* recipe=prune80_block4_quant"):
            refused()


def test_the_sparse_engine_is_refused_without_a_compiler(sparse_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "/nonexistent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match="CXX=/nonexistent is not installed on this machine; install"):
        check_deployed(sparse_folder, "sparse")


@pytest.mark.parametrize("damage", [lambda content: content[:9000], lambda content: b"", lambda content: b"no graph"])
def test_a_damaged_sparse_graph_is_refused_in_one_line(sparse_folder, tmp_path, capfd, damage):
    path = tmp_path / "model.sparse.onnx"
    path.write_bytes(damage((sparse_folder / path.name).read_bytes()))
    with pytest.raises(UserError, match=r"model.sparse.onnx could not be read by sparse and may be damaged") as refused:
        open_engine("sparse", path)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_bits_that_do_not_fit_their_blocks_are_refused(sparse_folder, tmp_path, capfd):
    path = tmp_path / "model.sparse.onnx"
    path.write_bytes((sparse_folder / path.name).read_bytes())
    name = "sparse.bert.encoder.layer.0.output.dense.weight.present"
    with_initialiser(path, name, 255 - stored(path)[name])
    with pytest.raises(UserError, match="could not be read by sparse and may be damaged"):
        open_engine("sparse", path)
    assert capfd.readouterr() == ("", "")


def test_a_signal_after_two_models_of_openvino_were_deleted_does_not_kill_the_process(tmp_path):
    pytest.importorskip("openvino")
    program = """
import signal, sys
from pathlib import Path
from winnow.deployment.engines import open_engine
signal.signal(signal.SIGUSR1, lambda *_: print("survived"))
first = open_engine("openvino", Path(sys.argv[1]))
second = open_engine("openvino", Path(sys.argv[1]))
del first
del second
waste = [bytearray(11_568) for _ in range(1000)]  # reuses the freed memory
signal.raise_signal(signal.SIGUSR1)
"""
    file = str(graph(tmp_path / "model.onnx"))
    ended = subprocess.run([sys.executable, "-c", program, file], cwd=CONF.parent, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "survived\n"), ended.stderr
