import errno

import pytest

from winnow.errors import StoppedError, UserError, describe, is_disk_full, nearest, short_errors


def test_a_close_name_is_suggested_and_a_far_one_is_not():
    assert nearest("prune8O", ["dense", "prune83", "prune80", "prune90"]) == " Did you mean 'prune80'?"
    assert nearest("xyz", ["dense", "prune80"]) == ""
    assert nearest("anything", []) == ""


def test_a_mistake_of_the_user_ends_with_its_message_and_status_1():
    with pytest.raises(SystemExit) as ended, short_errors():
        raise UserError("sparsity must be in [0, 1), got 80; write 80 % as 0.8.")
    assert ended.value.code == "error: sparsity must be in [0, 1), got 80; write 80 % as 0.8."


def test_any_other_error_is_one_line_that_says_how_to_see_more():
    with pytest.raises(SystemExit) as ended, short_errors():
        raise RuntimeError("first line.\nsecond line")
    assert ended.value.code == "error: RuntimeError: first line. HYDRA_FULL_ERROR=1 before the command shows the trace."


def test_an_error_without_words_is_described_by_its_type():
    assert describe(AssertionError()).startswith("AssertionError: no message")
    assert describe(KeyboardInterrupt()) == "interrupted"


def test_an_interrupt_ends_without_a_trace():
    with pytest.raises(SystemExit) as ended, short_errors():
        raise KeyboardInterrupt
    assert ended.value.code == "error: interrupted"


def test_a_run_that_was_stopped_says_how_to_go_on_and_gives_its_status(capsys):
    with pytest.raises(SystemExit) as ended, short_errors():
        raise StoppedError("stopped at step 5; go on with: ...", status=75)
    assert ended.value.code == 75
    assert capsys.readouterr().err == "stopped at step 5; go on with: ...\n"


def test_the_trace_is_shown_where_hydra_is_asked_for_it(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError), short_errors():
        raise UserError("wrong")


def test_without_an_error_nothing_happens():
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
def test_a_full_disk_is_known_however_it_is_reported(error):
    assert is_disk_full(error)
    message = describe(error)
    assert "a file could not be written" in message
    assert "hydra.run.dir=FOLDER" in message
    assert "earlier runs are untouched" in message


def raised_from(cause, error):
    """``error`` as it is after ``raise error from cause``."""
    error.__cause__ = cause
    return error


def test_a_full_disk_behind_another_error_is_known():
    assert is_disk_full(raised_from(OSError(errno.ENOSPC, "No space left on device"), RuntimeError("could not save")))


def test_other_errors_are_no_full_disk():
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))
    assert not is_disk_full(RuntimeError("shapes differ"))


def test_a_mistake_behind_another_error_is_told_as_the_mistake():
    """Hydra wraps what a constructor raises."""
    wrapped = RuntimeError("Error in call to target 'winnow.modifiers.gmp.MagnitudePruning':")
    assert describe(raised_from(UserError("shape must be cubic."), wrapped)) == "shape must be cubic."
