import os
import shutil

import pytest

from winnow.data import cache_folder
from winnow.data.cache_folder import keep_within, mark_used
from winnow.files.locks import lock_of, named_lock

NAMES = [f"teacher-{i:016x}" for i in range(4)]


@pytest.fixture
def folder(tmp_path):
    """Entries of 100 bytes, the first used the longest ago, one that is half made, and a stranger's folder."""
    for i, name in enumerate([*NAMES, "teacher-00000000000000ff.partial", "mine"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000 + i, 1000 + i))
    return tmp_path


def left(folder):
    return sorted(path.name for path in folder.glob("teacher-*"))


def test_the_least_recently_used_go_beyond_the_limit(folder):
    mark_used(folder / NAMES[0])
    keep_within(folder, limit=250)
    assert left(folder) == [NAMES[0], NAMES[3]]
    assert (folder / "mine" / "file").is_file()


def test_all_stay_that_fit_but_what_is_half_made(folder):
    keep_within(folder, limit=400)
    assert left(folder) == NAMES


def test_entries_that_go_meanwhile_are_none(folder, monkeypatch):
    (folder / "teacher-00000000000000aa").symlink_to("gone")  # one that was listed and is gone

    def lock(place, name):
        shutil.rmtree(folder / (name + ".partial"), ignore_errors=True)  # it has just become whole
        return lock_of(place, name)

    monkeypatch.setattr(cache_folder, "lock_of", lock)
    keep_within(folder, limit=250)
    assert left(folder) == [*NAMES[2:], "teacher-00000000000000aa"]


def test_what_another_process_is_making_or_opening_stays(folder):
    with named_lock(folder, "teacher-00000000000000ff"), named_lock(folder, NAMES[1]):
        keep_within(folder, limit=0)
    assert left(folder) == [NAMES[1], "teacher-00000000000000ff.partial"]
