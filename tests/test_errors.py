import errno
import os

import pytest

from winnow.errors import StoppedError, UserError, describe, is_disk_full, nearest, short_errors


def test_a_similar_name_is_suggested_and_a_different_one_is_not():
    assert nearest("prune8O", ["dense", "prune83", "prune80", "prune90"]) == " Did you mean 'prune80'?"
    assert nearest("xyz", ["dense", "prune80"]) == ""
    assert nearest("anything", []) == ""


def test_invisible_characters_are_escaped_in_a_message():
    assert str(UserError("no column 'text', only \ufefftext, a\tb, café \u200b.\nA second line.")) == (
        "no column 'text', only \\ufefftext, a\\tb, café \\u200b.\nA second line."
    )


def test_a_user_error_exits_with_its_message_and_status_1():
    with pytest.raises(SystemExit) as ended, short_errors():
        raise UserError("sparsity must be in [0, 1), got 80; write 80 % as 0.8.")
    assert ended.value.code == "error: sparsity must be in [0, 1), got 80; write 80 % as 0.8."


def test_any_other_error_is_one_line_that_explains_how_to_see_the_trace():
    with pytest.raises(SystemExit) as ended, short_errors():
        raise RuntimeError("first line.\nsecond line")
    assert ended.value.code == "error: RuntimeError: first line. HYDRA_FULL_ERROR=1 before the command shows the trace."


def test_an_error_without_a_message_is_described_by_its_type():
    assert describe(AssertionError()).startswith("AssertionError: no message")
    assert describe(KeyboardInterrupt()) == "interrupted"


def test_an_interrupt_exits_without_a_trace():
    with pytest.raises(SystemExit) as ended, short_errors():
        raise KeyboardInterrupt
    assert ended.value.code == "error: interrupted"


def test_a_stopped_run_prints_its_message_and_exits_with_its_status(capsys):
    with pytest.raises(SystemExit) as ended, short_errors():
        raise StoppedError("stopped at step 5; resume with: ...", status=75)
    assert ended.value.code == 75
    assert capsys.readouterr().err == "stopped at step 5; resume with: ...\n"


def test_hydra_full_error_shows_the_trace(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError), short_errors():
        raise UserError("wrong")


def test_a_command_without_an_error_returns():
    with short_errors():
        done = True
    assert done


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_every_report_of_a_full_disk_is_recognised(error):
    assert is_disk_full(error)
    message = describe(error)
    assert "a file could not be written" in message
    assert "hydra.run.dir=FOLDER" in message
    assert "earlier runs are untouched" in message


def test_a_path_that_cannot_be_used_is_named_without_a_trace():
    for number in (errno.ENOTDIR, errno.EEXIST, errno.EACCES, errno.EROFS, errno.ENAMETOOLONG):
        message = describe(OSError(number, os.strerror(number), "a/b"))
        assert message.startswith("a/b: ")
        assert message.endswith("; name another file or folder, or ask for access to this one.")


def raised_from(cause, error):
    """The error as after ``raise error from cause``."""
    error.__cause__ = cause
    return error


def test_a_full_disk_that_caused_another_error_is_recognised():
    assert is_disk_full(raised_from(OSError(errno.ENOSPC, "No space left on device"), RuntimeError("could not save")))


def test_other_errors_are_not_a_full_disk():
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))
    assert not is_disk_full(RuntimeError("shapes differ"))


def test_a_user_error_that_caused_another_error_is_described_by_its_own_message():
    """Hydra wraps an error that a constructor raises."""
    wrapped = RuntimeError("Error in call to target 'winnow.modifiers.gmp.MagnitudePruning':")
    assert describe(raised_from(UserError("shape must be cubic."), wrapped)) == "shape must be cubic."
