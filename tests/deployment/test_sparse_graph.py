import shutil

import onnx
import pytest

from tests.deployment.toys import (
    deployed,
    family,
    inputs_of,
    logits,
    pruned_in_blocks,
    quantized,
    without_structures,
    written,
)
from winnow.deployment import sparse_graph
from winnow.deployment.sparse_graph import write_sparse_graph
from winnow.engine.library import LIBRARY


@pytest.fixture
def folder(sparse_folder, tmp_path):
    """A folder with the graph of an encoder, three quarters of whose blocks are empty."""
    shutil.copy(sparse_folder / "model.onnx", tmp_path)
    return tmp_path


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_pruned_encoder_gets_a_graph_and_the_library_that_runs_it(folder, sparse_engine):
    made = write_sparse_graph(folder)
    assert names(folder) == {"model.onnx", "model.sparse.onnx", LIBRARY}
    assert (made.packed, made.alone, made.instruction_set) == (6, 0, sparse_engine)
    assert made.empty_blocks == pytest.approx(0.75, abs=0.02)
    assert made.path.stat().st_size < (folder / "model.onnx").stat().st_size
    made.remove()
    assert names(folder) == {"model.onnx"}


def test_embeddings_of_four_bits_stay_as_they_are(sparse_folder):
    graphs = [onnx.load(sparse_folder / name) for name in ("model.onnx", "model.sparse.onnx")]
    nodes = [each.graph.node for each in graphs]
    stock, sparse = ({node.name: node for node in each if node.domain == "com.microsoft"} for each in nodes)
    assert len(stock) == 3
    assert stock == sparse  # in another order
    assert {entry.domain for entry in graphs[1].opset_import} == {"", "com.microsoft", "winnow"}


def test_an_encoder_with_fewer_empty_blocks_gets_none(folder, monkeypatch):
    monkeypatch.setattr(sparse_graph, "FEWEST_EMPTY", 0.8)
    assert write_sparse_graph(folder) is None
    assert names(folder) == {"model.onnx"}


def test_without_a_compiler_a_line_says_why_there_is_none(folder, monkeypatch, tmp_path_factory, capsys):
    monkeypatch.setenv("CXX", "/nonexistent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    assert write_sparse_graph(folder) is None
    assert names(folder) == {"model.onnx"}
    expected = (
        "note: model.sparse.onnx is not written: CXX=/nonexistent is not installed on this machine; install g++\n"
    )
    assert capsys.readouterr().err == expected


def test_a_graph_that_one_file_cannot_hold_is_not_written(folder, sparse_engine, monkeypatch, capsys):
    monkeypatch.setattr(sparse_graph, "_LARGEST", 1000)
    assert write_sparse_graph(folder) is None
    assert "model.sparse.onnx is not written: it has more than" in capsys.readouterr().err


def test_an_encoder_without_some_heads_and_neurons_runs_in_the_sparse_engine(tmp_path, sparse_engine):
    model = quantized(pruned_in_blocks(without_structures(family("bert", layers=3))))
    written(model, tmp_path / "model.onnx", batch_size=4, sequence_length=12)
    made, batch = write_sparse_graph(tmp_path), inputs_of(model)
    assert (made.packed, made.alone) == (12, 0)  # of two attentions and two feed-forward networks
    assert (deployed(made.path, batch, engine="sparse") - logits(model, batch)).abs().median() < 1e-5
