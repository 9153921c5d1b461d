import errno
import threading

import pytest

from winnow.errors import UserError
from winnow.files.locks import BusyError, is_running, named_lock, run_lock


def test_only_one_thread_holds_a_named_lock(tmp_path):
    order = []

    def second():
        with named_lock(tmp_path, "abc"):
            order.append("second")

    with named_lock(tmp_path, "abc"):
        other = threading.Thread(target=second)
        other.start()
        other.join(timeout=0.3)
        order.append("first")
    other.join(timeout=5)
    assert order == ["first", "second"]


def test_a_run_lock_refuses_a_second_command_until_the_first_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("winnow.files.locks._SECONDS_TO_DIE", 0.05)
    assert not is_running(tmp_path / "nowhere")
    with run_lock(tmp_path):
        assert is_running(tmp_path, patience=0)
        with pytest.raises(BusyError, match="another command runs"), run_lock(tmp_path):
            pass
    assert not is_running(tmp_path, patience=0)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_disk_without_file_locks_is_named_with_the_remedy(tmp_path, monkeypatch, number):
    def refused(*args):
        raise OSError(number, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    for lock in (run_lock(tmp_path), named_lock(tmp_path, "abc")):
        with pytest.raises(UserError, match=r"the disk has no file locks .*output_dir=FOLDER"), lock:
            pass
    assert not is_running(tmp_path, patience=0)


def test_a_folder_without_write_permission_counts_as_not_running(tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        raise PermissionError

    with run_lock(tmp_path):
        monkeypatch.setattr("winnow.files.locks.FileLock.acquire", refused)
        assert not is_running(tmp_path, patience=0)
        monkeypatch.undo()
