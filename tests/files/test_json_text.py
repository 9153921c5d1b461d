import json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from winnow.files.json_text import json_text, read_json
from winnow.files.run_files import ended_well, read_result, write_result

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
NESTED = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=8)


def refuse(name):
    raise AssertionError(name)


@settings(max_examples=40)
@given(NESTED, st.sampled_from([None, 2]))
def test_no_text_has_nan_or_infinity(content, indent):
    read = json.loads(json_text(content, indent=indent), parse_constant=refuse)
    assert read == json.loads(json.dumps(content), parse_constant=lambda name: None)


def test_a_result_has_null_in_place_of_nan(tmp_path):
    write_result(tmp_path, {"status": "ok", "metrics": {"pearson": float("nan"), "scores": (float("-inf"), 1.5)}})
    assert '"pearson": null' in (tmp_path / "result.json").read_text()
    assert read_result(tmp_path)["metrics"] == {"pearson": None, "scores": [None, 1.5]}


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_result_of_an_earlier_version_with_nan_is_read(tmp_path, word):
    (tmp_path / "result.json").write_text(f'{{"status": "ok", "metrics": {{"pearson": {word}}}}}')
    assert read_result(tmp_path)["metrics"] == read_json(tmp_path / "result.json")["metrics"] == {"pearson": None}
    assert ended_well(tmp_path)
