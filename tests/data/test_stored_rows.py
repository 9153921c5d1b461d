from pathlib import Path

import pytest
from datasets import Dataset

from winnow.data.places import PLACE
from winnow.data.reader import Layout
from winnow.data.stored_rows import Wanted, stored_rows
from winnow.errors import UserError


def stored(path, content, kind="jsonl", **wanted):
    path.write_text(content)
    return stored_rows([path], Layout(kind), Wanted(**wanted))


def test_without_a_choice_all_columns_of_all_rows_are_read(tmp_path):
    split, names = stored(tmp_path / "a.jsonl", '{"a": "1"}\n{"b": ["x"], "a": null}\n')
    assert names == ["a", "b"]
    assert split[:] == {"a": ["1", None], "b": [None, ["x"]], PLACE: ["a.jsonl, line 1", "a.jsonl, line 2"]}


def test_cells_of_structured_columns_are_json(tmp_path):
    split, _ = stored(tmp_path / "a.jsonl", '{"a": {"b": [1, "é"]}}\n{"a": "c"}\n', columns=["a"], structured=["a"])
    assert split["a"][:] == ['{"b": ["1", "é"]}', "c"]


def test_a_column_that_no_row_has_is_not_there(tmp_path):
    split, names = stored(tmp_path / "a.jsonl", '{"a": "1"}\n', columns=["a", "c"])
    assert (split.column_names, names) == (["a", PLACE], ["a"])


def test_a_key_after_many_rows_without_it_is_read(tmp_path):
    split, _ = stored(tmp_path / "a.jsonl", '{"a": "1"}\n' * 10_001 + '{"a": "2", "b": "c"}\n', columns=["a", "b"])
    assert (split[10_000]["b"], split[10_001]["b"]) == (None, "c")


def test_a_table_that_could_not_be_read_leaves_nothing_to_be_found_later(tmp_path):
    for _ in range(2):
        with pytest.raises(UserError, match=r"bad\.csv, line 3 has 1 cell,"):
            stored(tmp_path / "bad.csv", "a,b\n1,2\n3\n", kind="csv")


def test_a_column_with_the_name_of_the_places_is_refused_where_it_is_read(tmp_path):
    Dataset.from_dict({"a": ["1"], PLACE: ["x"]}).to_parquet(tmp_path / "a.parquet")
    for columns in (None, ["a", PLACE]):
        with pytest.raises(UserError, match=rf"a\.csv: a column is named '{PLACE}', .*; rename it"):
            stored(tmp_path / "a.csv", f"a,{PLACE}\n1,x\n", kind="csv", columns=columns)
        with pytest.raises(UserError, match=rf"a\.parquet: a column is named '{PLACE}', .*; rename it"):
            stored_rows([tmp_path / "a.parquet"], Layout("parquet"), Wanted(columns))
    assert stored(tmp_path / "a.csv", f"a,{PLACE}\n1,x\n", kind="csv", columns=["a"])[0]["a"][:] == ["1"]


@pytest.mark.parametrize("damage", [lambda file: file.write_bytes(file.read_bytes()[:100]), Path.unlink])
def test_a_table_that_is_damaged_or_gone_is_read_again(tmp_path, damage):
    content = "".join(f'{{"a": "{i}"}}\n' for i in range(100))
    split, _ = stored(tmp_path / "a.jsonl", content)
    damage(Path(split.cache_files[0]["filename"]))
    assert stored(tmp_path / "a.jsonl", content)[0]["a"][99] == "99"


def test_types_of_parquet_are_kept_where_a_number_may_be_meant(tmp_path):
    Dataset.from_dict({"a": [1, 2], "b": [0.5, None], "c": [True, False]}).to_parquet(tmp_path / "a.parquet")
    split, _ = stored_rows([tmp_path / "a.parquet"], Layout("parquet"), Wanted(columns=["a", "b"]))
    assert split[:] == {"a": [1, 2], "b": [0.5, None], PLACE: ["a.parquet, row 1", "a.parquet, row 2"]}
