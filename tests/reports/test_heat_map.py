import json
import struct

import pytest

from tests.reports.runs import put
from winnow.reports.heat_map import heat_map, percent_of_zeros
from winnow.reports.results import collect

QUERY, OUTPUT = "bert.encoder.layer.{}.attention.self.query.weight", "bert.encoder.layer.{}.output.dense.weight"


def by_layer(*layers):
    return {name.format(i): s for i, pair in enumerate(layers) for name, s in zip((QUERY, OUTPUT), pair, strict=True)}


def lines(folder):
    return dict(heat_map(collect([folder]).groups))


def test_a_field_is_the_mean_over_matrices_and_seeds(tmp_path):
    put(tmp_path / "a", sparsity_by_layer=by_layer((0.2, 0.4), (0.8, 1.0)))
    put(tmp_path / "b", sparsity_by_layer=by_layer((0.4, 0.6), (0.8, 1.0)), seed=2)
    put(tmp_path / "c", sparsity_by_layer=by_layer((0.5, 0.5)), recipe="layers1_prune50")
    table = lines(tmp_path)
    assert table["prune80, dense"] == pytest.approx({0: 0.4, 1: 0.9})
    assert table["layers1_prune50, dense"] == {0: 0.5}


def test_where_the_model_is_there_large_matrices_count_for_more(tmp_path):
    put(tmp_path / "a", sparsity_by_layer=by_layer((0.0, 0.8)))
    put(tmp_path / "b", recipe="prune90")
    head = json.dumps({QUERY.format(0): {"shape": [2, 2]}, OUTPUT.format(0): {"shape": [2, 6]}}).encode()
    (tmp_path / "a" / "model").mkdir()
    (tmp_path / "a" / "model" / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    assert lines(tmp_path)["prune80, dense"] == pytest.approx({0: 0.6})


def test_of_a_single_sparse_cell_each_kind_of_matrix_is_a_line(tmp_path):
    put(tmp_path / "a", sparsity_by_layer=by_layer((0.2, 0.4), (0.8, 1.0)))
    assert lines(tmp_path) == {"attention.self.query": {0: 0.2, 1: 0.8}, "output.dense": {0: 0.4, 1: 1.0}}


@pytest.mark.parametrize(
    ("sparsity", "text"), [(0.0, "0"), (0.805, "80"), (0.9961, "99.6"), (0.9999, "99.9"), (1.0, "100.0")]
)
def test_only_a_layer_without_any_weight_left_has_100_percent_of_zeros(sparsity, text):
    assert percent_of_zeros(sparsity) == text
