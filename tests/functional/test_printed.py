import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.functional.printed import printed_value

CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXTS = st.one_of(st.text(CHARACTERS, max_size=8), st.text("'\"\\,[]{}: \nxu0", max_size=8))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=3).map(tuple), st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=8,
)


def as_texts(value):
    """What `printed_value` returns for a value that is printed: its leaves are texts or None."""
    if isinstance(value, dict):
        return {key: as_texts(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_texts(inner) for inner in value]
    return value if value is None or isinstance(value, str) else json.dumps(value)


@given(VALUES)
def test_whatever_python_prints_is_read_back(value):
    assert printed_value(repr(value)) == as_texts(value)


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_whatever_json_writes_is_read_back(value, ascii_only, indent):
    assert printed_value(json.dumps(value, ensure_ascii=ascii_only, indent=indent)) == as_texts(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1e5, -0.0, 1E+2]", ["1e5", "-0.0", "1E+2"]),  # numbers as they are written
        ("['True', True, true]", ["True", "true", "true"]),
        ("{1: 'a', True: 'b'}", {"1": "a", "true": "b"}),
        (r'"\/\ud83d\ude00"', "/\U0001f600"),
        (" [ ] ", []),
        ("()", []),
    ],
)
def test_values_by_hand(text, value):
    assert printed_value(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("['a' 'b']", "a comma is missing before 'b'"),  # numpy; Python would join the two
        ("['a'\n 'b']", "a comma is missing before 'b'"),
        ("[1 2]", "a comma is missing before 2"),
        ("array(['a'], dtype=object)", r"array\(\['a'\], dtype=… \(character 1\) is neither in quotes"),
        ("{'text': array(['a'])}", r"array\(\['a'\]\)} \(character 10\) is neither in quotes"),
        ("[nan]", "nan] .* is neither in quotes"),
        ("[NaN]", "is neither in quotes"),
        ("[inf]", "is neither in quotes"),
        ("{'a', 'b'}", "is not expected there"),
        ("set()", "is neither in quotes"),
        ("[b'a']", "is neither in quotes"),
        ("[1.]", "is neither in quotes"),
        ("[007]", "is neither in quotes"),
        ("[a, b]", "is neither in quotes"),
        ("2020-01-01", "is neither in quotes"),
        ("[1-2]", "a comma is missing"),
        ("[1,]", "is not expected there"),
        ("[,]", "is not expected there"),
        ("{'a': 1,}", "is not expected there"),
        ("{None: 1}", "is not expected there"),
        ("{'a': 1, 'a': 2}", "it has the key 'a' twice"),
        ("('a')", "a tuple of one value needs a comma behind it"),
        ("['a'", "it ends too early"),
        ("", "it ends too early"),
        ("['a']]", "is not expected there"),
        ("['a', 'b]", "is neither in quotes"),
        ("['a\nb']", "is neither in quotes"),
        (r"'\N{BULLET}'", "is neither in quotes"),
        (r"'\ud83d'", "has an escape that is no character"),
        (r"'\U00110000'", "has an escape that is no character"),
        (r"'\Uffffffff'", "has an escape that is no character"),
        ("[" * 21 + "]" * 21, "nested more than 20 levels deep"),
        ("[" * 100_000, "nested more than 20 levels deep"),
        ("[" + "1," * 500_000 + "]", "1,000,002 characters, more than 1,000,000"),
    ],
)
def test_anything_else_is_refused_with_its_reason(text, reason):
    with pytest.raises(ValueError, match=rf"cannot be read as a list or a mapping: .*{reason}"):
        printed_value(text)


def test_twenty_levels_of_brackets_are_read():
    text = "[" * 20 + "]" * 20
    assert str(printed_value(text)) == text
