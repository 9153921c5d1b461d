import multiprocessing
import time
from pathlib import Path

import pytest
from datasets import Dataset

from winnow.data import cached_map as module
from winnow.data.cached_map import cached_map


def upper(row):
    return {"text": row["text"].upper()}


def test_rows_are_cached_until_the_code_changes(tmp_path, monkeypatch):
    Dataset.from_dict({"text": ["a", "b"]}).to_parquet(tmp_path / "rows.parquet")
    split = Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))

    def file():
        mapped = cached_map(split, upper)
        assert mapped["text"][:] == ["A", "B"]
        return mapped.cache_files[0]["filename"]

    first = file()
    assert file() == first
    monkeypatch.setattr(module, "code_hash", lambda: "another")
    assert file() != first


@pytest.mark.parametrize("rest", [0, 100])
def test_truncated_cache_files_are_computed_again(tmp_path, capsys, rest):
    Dataset.from_dict({"text": ["a", "b"]}).to_parquet(tmp_path / "rows.parquet")
    split = Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))
    file = Path(cached_map(split, upper).cache_files[0]["filename"])
    whole = file.read_bytes()
    file.write_bytes(whole[:rest])
    assert cached_map(split, upper)["text"][:] == ["A", "B"]
    assert "note: cached rows are damaged" in capsys.readouterr().out
    assert file.read_bytes() == whole


def test_two_processes_at_the_same_time_compute_the_rows_once(tmp_path):
    Dataset.from_dict({"text": ["a", "b"]}).to_parquet(tmp_path / "rows.parquet")
    split = Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))
    counter = tmp_path / "rows"

    def counted(row):
        with counter.open("a") as file:
            file.write("x")
        time.sleep(0.1)
        return upper(row)

    forked = multiprocessing.get_context("fork")
    processes = [forked.Process(target=cached_map, args=(split, counted)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert counter.read_text() == "xx"
    assert cached_map(split, counted)["text"][:] == ["A", "B"]
    assert counter.read_text() == "xx"
