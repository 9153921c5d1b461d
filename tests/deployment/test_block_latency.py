import json
import shutil

import onnx
import pytest
import torch

from tests.deployment.toys import family
from tests.toys import toy_task
from winnow.config.modifiers import StructureSettings
from winnow.deployment import block_latency, engines
from winnow.deployment.block_latency import measured_table, random_copy
from winnow.errors import UserError


def settings(**changes):
    return StructureSettings(**{"target_speedup": 2, "sequence_length": 8, **changes})


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch):
    monkeypatch.setattr(block_latency, "_ROUNDS", 2)
    monkeypatch.setattr(block_latency, "_SECONDS", 0.0)


@pytest.fixture
def exported(monkeypatch, float_graphs):
    """Exports are copies of a graph of one layer, because an export takes a second."""
    monkeypatch.setattr(
        block_latency,
        "write_graph",
        lambda model, path, **_: shutil.copyfile(float_graphs[model.config.model_type][1], path),
    )


@pytest.fixture
def timed(monkeypatch, exported):
    """Engines whose calls take as long as their weights are many; the list of groups that were measured together."""
    groups = []

    def call_seconds(engines, settings, vocabulary):
        groups.append(list(engines))
        sizes = {size: (2, 24) if size[0] < 0 else size for size in engines}
        return {size: 1.0 + (100 * heads + 10 * neurons) for size, (heads, neurons) in sizes.items()}

    monkeypatch.setattr(block_latency, "call_seconds", call_seconds)
    return groups


def test_the_costs_of_blocks_come_from_graphs_with_fewer_heads_and_neurons(timed, tmp_path):
    table = measured_table(family("bert", layers=1), toy_task(), settings(), tmp_path).table
    assert table.heads == {0: 0.0, 1: 100.0, 2: 200.0}
    assert table.neurons == {n: 10.0 * n for n in (0, 4, 8, 12, 16, 20, 24)}
    assert (table.rest, table.dense) == (1.0, 441.0)


def test_graphs_that_do_not_fit_into_memory_together_are_measured_in_groups_with_the_first(
    timed, tmp_path, monkeypatch
):
    monkeypatch.setattr(block_latency, "_OPEN_BYTES", 5_000)
    table = measured_table(family("bert", layers=1), toy_task(), settings(), tmp_path).table
    assert len(timed) > 2
    assert len({group[0] for group in timed}) == 1
    assert table.heads == {0: 0.0, 1: 100.0, 2: 200.0}


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_measurement_changes_neither_the_model_nor_the_random_state(kind, exported, tmp_path):
    model = family(kind, layers=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    found = measured_table(model, toy_task(), settings(), tmp_path)
    assert min(found.table.dense, found.table.rest) > 0
    assert {max(found.table.heads), max(found.table.neurons)} == {2, 24}
    assert found.facts["machine"]["threads"] == 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_sparse_engine_is_measured_on_its_own_graphs(sparse_folder, float_graphs, monkeypatch, tmp_path):
    opened = []

    def export(model, path, **_):
        shutil.copyfile(sparse_folder / "model.onnx" if path.stem == "int8" else float_graphs["bert"][1], path)

    def open_engine(name, path, threads):
        opened.append((name, {node.domain for node in onnx.load(path).graph.node}))
        return engines.open_engine(name, path, threads)

    monkeypatch.setattr(block_latency, "write_graph", export)
    monkeypatch.setattr(block_latency, "open_engine", open_engine)
    asked = settings(engine="sparse", precision="int8", block4_sparsity=0.5)
    found = measured_table(family("bert", layers=1), toy_task(), asked, tmp_path)
    assert (found.facts["engine"], found.facts["block4_sparsity"]) == ("sparse", 0.5)
    assert ("onnxruntime", {""}) in opened  # the dense float32 model
    assert any(name == "sparse" and "winnow" in domains for name, domains in opened)


def test_a_table_is_measured_once_for_the_same_model_and_settings(timed, tmp_path):
    first = measured_table(family("bert", layers=1), toy_task(), settings(), tmp_path)
    again = measured_table(family("bert", layers=1), toy_task(), settings(target_speedup=4, stages=1), tmp_path)
    assert again == first
    assert len(timed) == 1
    measured_table(family("bert", layers=1), toy_task(), settings(sequence_length=16), tmp_path)
    wider = family("bert", layers=1)
    wider.bert.pooler.dense.out_features += 1
    measured_table(wider, toy_task(), settings(), tmp_path)
    assert len(timed) == 3


@pytest.mark.parametrize("damage", ["", "{}", '{"table": {"heads": {}}, "facts": {}}'])
def test_a_damaged_file_of_the_cache_is_measured_again(damage, timed, tmp_path):
    first = measured_table(family("bert", layers=1), toy_task(), settings(), tmp_path)
    (path,) = (tmp_path / "latency").glob("*.json")
    path.write_text(damage)
    assert measured_table(family("bert", layers=1), toy_task(), settings(), tmp_path).table == first.table
    assert json.loads(path.read_text())["facts"]["layers"] == 1


def test_more_tokens_than_the_model_reads_are_refused(tmp_path):
    with pytest.raises(UserError, match="sequence_length=100: the model reads 66 tokens at most"):
        measured_table(family("bert", layers=1), toy_task(), settings(sequence_length=100), tmp_path)


def test_a_task_that_is_not_deployed_is_refused(tmp_path):
    task = toy_task()
    task.output_names = ()
    with pytest.raises(UserError, match="task=toy has no deployed graph to measure; set latency=macs"):
        measured_table(family("bert"), task, settings(), tmp_path)


def test_no_two_weights_of_the_measured_copy_are_equal():
    model = family("bert")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    values = [p for name, p in random_copy(model).named_parameters() if "LayerNorm" not in name]
    assert len({value.flatten()[0].item() for value in values}) == len(values)
