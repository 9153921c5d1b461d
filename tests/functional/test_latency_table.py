import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.functional.latency_table import (
    LatencyTable,
    additive_table,
    neuron_levels,
    non_falling,
    table_from_json,
    table_json,
)

TABLE = LatencyTable({0: 0.0, 1: 1.5, 2: 3.0}, {0: 0.0, 4: 2.0, 8: 3.5}, rest=1.0, dense=26.0)


def test_the_cost_of_a_model_is_that_of_its_blocks_and_of_the_rest():
    assert TABLE.total([(2, 8), (1, 0)]) == 1 + 3 + 3.5 + 1.5
    assert TABLE.speedup([(2, 8), (2, 8)]) == 26 / 14
    assert TABLE.highest_speedup(layers=2) == 26


def test_the_highest_speedup_has_the_smallest_blocks_of_a_table_without_empty_ones():
    table = LatencyTable({1: 0.5, 2: 3.0}, {4: 0.25, 8: 3.5}, rest=0.5, dense=4.0)
    assert table.highest_speedup(layers=2) == 2


@pytest.mark.parametrize("neurons", [1536, 3072, 1000, 255, 24, 3])
def test_neighbouring_levels_are_close_or_as_close_as_kernels_compute_them(neurons):
    levels = neuron_levels(neurons)
    assert levels[0] == 0
    assert levels[-1] == neurons
    assert levels == sorted(set(levels))
    finest = 16 if neurons >= 256 else 8 if neurons >= 128 else 4
    assert all(level % finest == 0 for level in levels[:-1])
    assert all(high - low <= 0.16 * high + finest for low, high in itertools.pairwise(levels))


def test_levels_of_minilm():
    assert neuron_levels(1536) == [
        *(0, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256),
        *(304, 352, 416, 496, 576, 688, 800, 944, 1104, 1312, 1536),
    ]


def test_neighbours_in_the_wrong_order_get_their_mean():
    assert non_falling([1, 3, 2, 4]) == [1, 2.5, 2.5, 4]
    assert non_falling([3, 2, 1]) == [2, 2, 2]
    assert non_falling([2, 4, 3, 1, 5]) == [2, 8 / 3, 8 / 3, 8 / 3, 5]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=7), st.lists(st.integers(0, 20), min_size=7, max_size=7))
def test_no_sequence_that_never_falls_is_nearer(values, other):
    def distance(fitted):
        return sum((a - b) ** 2 for a, b in zip(fitted, values, strict=True))

    fitted = non_falling(values)
    assert all(low <= high for low, high in itertools.pairwise(fitted))
    assert math.isclose(sum(fitted), sum(values), abs_tol=1e-9)
    assert distance(fitted) <= distance(sorted(other)[: len(values)]) + 1e-9


def test_the_table_of_a_model_whose_costs_add_up_has_these_costs():
    def cost(heads, neurons):  # of three layers
        return 0.5 + 3 * (2.0 * heads + 0.25 * neurons)

    heads, neurons = {n: cost(n, 8) for n in (0, 1, 2)}, {n: cost(1, n) for n in (0, 8, 16)}
    table = additive_table(heads, neurons, anchor=(1, 8), layers=3, dense=40.0)
    assert table == LatencyTable({0: 0.0, 1: 2.0, 2: 4.0}, {0: 0.0, 8: 2.0, 16: 4.0}, rest=0.5, dense=40.0)
    assert table.total([(2, 16), (0, 0), (1, 8)]) == 0.5 + 8 + 4


def test_an_empty_block_that_is_slower_than_a_small_one_is_no_choice():
    table = additive_table({0: 9.0, 1: 5.0, 2: 7.0}, {0: 6.0, 8: 5.0, 16: 8.0}, anchor=(1, 8), layers=1, dense=1.0)
    assert table == LatencyTable({1: 0.0, 2: 2.0}, {8: 0.0, 16: 3.0}, rest=5.0, dense=1.0)


def test_noise_never_lets_a_larger_block_cost_less():
    table = additive_table({0: 1.0, 1: 5.0, 2: 4.0}, {0: 4.0, 8: 4.5}, anchor=(1, 8), layers=1, dense=1.0)
    assert table.heads == {0: 0.0, 1: 3.5, 2: 3.5}


def test_noise_cannot_take_all_of_the_rest():
    costs = {"heads": {0: 1.0, 1: 5.0, 2: 8.0}, "neurons": {0: 2.0, 8: 5.0}, "anchor": (1, 8)}
    table = additive_table(**costs, layers=1, dense=9.0, least=1.0)  # 1 + 2 - 5 would be left
    assert table == LatencyTable({0: 0.0, 1: 2.5, 2: 5.5}, {0: 0.0, 8: 1.5}, rest=1.0, dense=9.0)
    assert [table.total([(1, 8)]), table.total([(2, 8)])] == [5.0, 8.0]  # as given


def test_a_table_is_the_same_after_it_was_written_to_json():
    assert table_from_json(json.loads(json.dumps(table_json(TABLE)))) == TABLE


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        {**table_json(TABLE), "heads": {}},
        {**table_json(TABLE), "heads": {"x": 1.0}},
        {**table_json(TABLE), "heads": [1.0]},
        {**table_json(TABLE), "rest": None},
        {**table_json(TABLE), "dense": -1.0},
        {**table_json(TABLE), "neurons": {"0": "nan"}},
    ],
)
def test_what_is_no_table_is_refused(content):
    with pytest.raises(ValueError, match=r"not a latency table|invalid literal"):
        table_from_json(content)
