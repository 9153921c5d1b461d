from datasets import Dataset

from src.data import cached_map as module
from src.data.cached_map import cached_map


def upper(row):
    return {"text": row["text"].upper()}


def test_rows_are_kept_for_the_next_run_until_the_code_changes(tmp_path, monkeypatch):
    Dataset.from_dict({"text": ["a", "b"]}).to_parquet(tmp_path / "rows.parquet")
    split = Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))

    def file():
        mapped = cached_map(split, upper)
        assert mapped["text"][:] == ["A", "B"]
        return mapped.cache_files[0]["filename"]

    first = file()
    assert file() == first
    monkeypatch.setattr(module, "_code", lambda: "another")
    assert file() != first
