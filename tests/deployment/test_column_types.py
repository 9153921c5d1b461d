from functools import reduce

import pyarrow as pa
import pytest

from winnow.deployment.column_types import EMPTY, arrow_type, common_kind, kind_of

WHOLE, DECIMAL, TEXT = pa.int64(), pa.float64(), pa.string()


def type_of(*values):
    return arrow_type(reduce(common_kind, map(kind_of, values), EMPTY))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], TEXT),
        ([None], TEXT),
        ([None, True], pa.bool_()),
        ([1, None], WHOLE),
        ([1, 2**53 + 1, -(2**63)], WHOLE),
        ([1, 2.5], DECIMAL),
        (["1", "a", None], TEXT),
        ([[], [1], [2.5, None]], pa.list_(DECIMAL)),
        ([[[]], None], pa.list_(pa.list_(TEXT))),
        ([[{"a": None}], [{"a": {"b": True}}]], pa.list_(pa.struct({"a": pa.struct({"b": pa.bool_()})}))),
    ],
)
def test_uniform_values_have_a_type_that_holds_them_whatever_their_order(values, expected):
    assert type_of(*values) == type_of(*reversed(values)) == expected
    assert pa.array(values, expected).null_count == values.count(None)


def test_an_object_has_the_keys_of_all_rows():
    assert type_of({"a": 1}, {"b": ["x"]}, {"a": 2.5}) == pa.struct({"a": DECIMAL, "b": pa.list_(TEXT)})


@pytest.mark.parametrize(
    "values",
    [
        [1, "1"],
        [True, 1],
        [1.5, "a"],
        [2**63],
        [2**53 + 1, 0.5],
        ["a", ["a"]],
        [[1], ["a"]],
        [{"a": 1}, [1]],
        [{"a": 1}, {"a": "x"}],
        [{}],
        [[{}]],
        [{str(key): 1} for key in range(300)],
        [{str(key): 1 for key in range(300)}],
    ],
)
def test_values_of_several_kinds_have_no_type(values):
    assert type_of(*values) is type_of(*reversed(values)) is None
