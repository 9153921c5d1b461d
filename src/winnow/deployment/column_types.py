"""The Arrow type of a column, from its JSON values one by one."""

from collections.abc import Iterable
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa  # not installed where a deployment serves

# A leaf is one of the names below, a list has the kind of its entries, and an object has the kind of each of its keys.
Kind = str | list["Kind"] | dict[str, "Kind"]

EMPTY = "empty"  # only null
_FLAG, _WHOLE, _LARGE, _DECIMAL, _TEXT, _MIXED = "flag", "whole", "large", "decimal", "text", "mixed"
_WIDER = {frozenset((_WHOLE, _LARGE)): _LARGE, frozenset((_WHOLE, _DECIMAL)): _DECIMAL}
_EXACT = 2**53  # whole numbers up to here are exact as decimals
_INT64 = 2**63
_MAX_KEYS = 256  # objects with more keys are no records


def kind_of(value: Any) -> Kind:
    """The kind of a JSON value."""
    match value:
        case None:
            return EMPTY
        case bool():
            return _FLAG
        case int():
            return _WHOLE if abs(value) <= _EXACT else _LARGE if -_INT64 <= value < _INT64 else _MIXED
        case float():
            return _DECIMAL
        case list():
            return [_common(map(kind_of, value))]
        case dict():
            return {key: kind_of(each) for key, each in value.items()} if len(value) <= _MAX_KEYS else _MIXED
    return _TEXT


def common_kind(one: Kind, other: Kind) -> Kind:
    """The kind of a column that has values of both kinds."""
    if one == other or other == EMPTY:
        return one
    if one == EMPTY:
        return other
    if isinstance(one, list) and isinstance(other, list):
        return [common_kind(one[0], other[0])]
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one | other
        if len(keys) <= _MAX_KEYS:
            return {key: common_kind(one.get(key, EMPTY), other.get(key, EMPTY)) for key in keys}
    if isinstance(one, str) and isinstance(other, str):
        return _WIDER.get(frozenset((one, other)), _MIXED)
    return _MIXED


def _common(kinds: Iterable[Kind]) -> Kind:
    first: Kind = EMPTY
    return reduce(common_kind, kinds, first)


def arrow_type(kind: Kind) -> "pa.DataType | None":
    """The type of a column; None for values of several kinds, and for objects without keys, which Parquet lacks."""
    import pyarrow as pa

    if isinstance(kind, str):
        text, whole = pa.string(), pa.int64()
        types = {EMPTY: text, _FLAG: pa.bool_(), _WHOLE: whole, _LARGE: whole, _DECIMAL: pa.float64(), _TEXT: text}
        return types.get(kind)
    if isinstance(kind, list):
        entries = arrow_type(kind[0])
        return None if entries is None else pa.list_(entries)
    fields = {key: arrow_type(each) for key, each in kind.items()}
    return pa.struct(fields.items()) if fields and None not in fields.values() else None
