import os
import shutil

import pytest

from winnow.data import cache_folder
from winnow.data.cache_folder import keep_within, mark_used
from winnow.files.locks import lock_of, named_lock

NAMES = [f"teacher-{i:016x}" for i in range(4)]


@pytest.fixture
def folder(tmp_path):
    """Entries of 100 bytes, the first is the least recently used; one partial entry; one folder of another user."""
    for i, name in enumerate([*NAMES, "teacher-00000000000000ff.partial", "mine"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000 + i, 1000 + i))
    return tmp_path


def left(folder):
    return sorted(path.name for path in folder.glob("teacher-*"))


def test_the_least_recently_used_entries_beyond_the_limit_are_removed(folder):
    mark_used(folder / NAMES[0])
    keep_within(folder, limit=250)
    assert left(folder) == [NAMES[0], NAMES[3]]
    assert (folder / "mine" / "file").is_file()


def test_entries_within_the_limit_are_kept_and_partial_ones_removed(folder):
    keep_within(folder, limit=400)
    assert left(folder) == NAMES


def test_entries_that_another_process_removes_are_ignored(folder, monkeypatch):
    (folder / "teacher-00000000000000aa").symlink_to("gone")  # listed, but removed since

    def lock(place, name):
        shutil.rmtree(folder / (name + ".partial"), ignore_errors=True)  # another process has just completed it
        return lock_of(place, name)

    monkeypatch.setattr(cache_folder, "lock_of", lock)
    keep_within(folder, limit=250)
    assert left(folder) == [*NAMES[2:], "teacher-00000000000000aa"]


def test_entries_locked_by_another_process_are_kept(folder):
    with named_lock(folder, "teacher-00000000000000ff"), named_lock(folder, NAMES[1]):
        keep_within(folder, limit=0)
    assert left(folder) == [NAMES[1], "teacher-00000000000000ff.partial"]
