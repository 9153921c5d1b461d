import os
import shutil

import pytest

from winnow.errors import UserError
from winnow.files.atomic import (
    complete_files,
    files_below,
    open_atomically,
    remove_unfinished,
    replaced_atomically,
    require_disk_space,
    save_folder,
    write_atomically,
)


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "sub" / "result.json"
    write_atomically(path, "first")
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "second")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def write_half_of(partial):
    partial.write_bytes(b"half")
    raise OSError("No space left on device")


def test_a_file_that_another_library_writes_is_replaced_completely_or_not_at_all(tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"first")
    with pytest.raises(OSError, match="No space"), replaced_atomically(path) as partial:
        write_half_of(partial)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"table.parquet": b"first"}
    with replaced_atomically(path) as partial:
        partial.write_bytes(b"second")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"table.parquet": b"second"}


def test_two_processes_may_write_the_same_file(tmp_path, monkeypatch):
    with open_atomically(tmp_path / "sweep.json") as file:
        file.write("first")
        monkeypatch.setattr("os.getpid", lambda: 1)
        write_atomically(tmp_path / "sweep.json", "the other")
        assert (tmp_path / "sweep.json").read_text() == "the other"
    assert (tmp_path / "sweep.json").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["sweep.json"]


def test_files_are_found_while_others_remove_folders(tmp_path):
    for name in "abc":
        (tmp_path / name / "run").mkdir(parents=True)
        (tmp_path / name / "run" / "result.json").touch()
    found = files_below(tmp_path, "result.json")
    first = next(found)
    for other in set(tmp_path.iterdir()) - {first.parents[1]}:
        shutil.rmtree(other)
    assert list(found) == []


def test_files_that_are_being_written_are_left_out(tmp_path):
    for folder in (tmp_path, tmp_path / "model", tmp_path / "deployment.partial"):
        folder.mkdir(exist_ok=True)
        (folder / "config.json").touch()
    (tmp_path / "result.json.123.partial").touch()
    found = complete_files(tmp_path)
    assert next(found) == tmp_path / "config.json"
    assert list(found) == [tmp_path / "model" / "config.json"]
    found = complete_files(tmp_path)
    next(found)
    shutil.rmtree(tmp_path / "model")
    assert list(found) == []


def test_all_files_of_a_folder_have_the_permissions_of_the_user(tmp_path):
    before = os.umask(0o027)
    try:
        save_folder(tmp_path / "model", lambda folder: (folder / "weights").touch(mode=0o600))
    finally:
        os.umask(before)
    assert (tmp_path / "model" / "weights").stat().st_mode & 0o777 == 0o640


def test_a_folder_is_replaced_completely_or_not_at_all(tmp_path):
    save_folder(tmp_path / "model", lambda folder: (folder / "weights").write_text("first"))

    def fail(folder):
        (folder / "weights").write_text("sec")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        save_folder(tmp_path / "model", fail)
    assert (tmp_path / "model" / "weights").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    save_folder(tmp_path / "model", lambda folder: (folder / "other").write_text("third"))
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["other"]


def test_a_run_that_would_not_fit_on_the_disk_does_not_start(tmp_path):
    require_disk_space(tmp_path, bytes_needed=1)
    with pytest.raises(UserError, match=r"writes up to 1,000,000,000,000 MB, .*hydra\.run\.dir=FOLDER"):
        require_disk_space(tmp_path, bytes_needed=10**18)


def test_what_killed_processes_left_half_written_is_removed_from_a_run_folder(tmp_path):
    alive, dead = os.getpid(), 2**22 + 1  # above the largest id of a process
    for name in ("model.partial", "deployment.partial"):
        (tmp_path / name).mkdir()
    left = ("checkpoints/next.partial", f"logs/metrics.csv.{dead}.partial", f"result.json.{dead}.partial")
    another_run = {"inner/.hydra/lock", "inner/x.partial"}
    kept = {"checkpoints/last.ckpt", f"events.json.{alive}.partial", "x.csv"} | another_run
    for name in (*left, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == kept
    assert not list(tmp_path.glob("*.partial/"))
