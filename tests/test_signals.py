import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from winnow.errors import StoppedError, short_errors
from winnow.files.conf_folder import CONF
from winnow.signals import deferred, hold_back, let_through, received, stoppable


def end_by(number, cleaning_up=lambda: None):
    """What a stopped command does, in a library that catches every Exception."""
    with stoppable("try again"):
        try:
            with suppress(Exception):
                signal.raise_signal(number)
        finally:
            cleaning_up()


@pytest.mark.parametrize(
    ("number", "message", "status"),
    [
        (signal.SIGTERM, "stopped by SIGTERM", 75),
        (signal.SIGHUP, "stopped by SIGHUP", 75),
        (signal.SIGINT, "interrupted", 1),
    ],
)
def test_a_signal_raises_an_error_with_the_remedy_and_handlers_are_restored(number, message, status):
    before = signal.getsignal(number)
    with pytest.raises(StoppedError, match=f"^{message}; try again$") as stopped:
        end_by(number)
    assert stopped.value.status == status
    assert signal.getsignal(number) == before
    assert not received()


def test_a_deferred_signal_is_only_noted_until_the_end():
    noted = []

    def train():
        with stoppable(""):
            with deferred():
                signal.raise_signal(signal.SIGTERM)
                noted.append(received())
            noted.append("not raised")

    with pytest.raises(StoppedError):
        train()
    assert noted == [True]


def test_a_signal_that_comes_again_does_not_interrupt_the_cleaning_up():
    done = []
    with pytest.raises(StoppedError):
        end_by(signal.SIGTERM, lambda: done.append(signal.raise_signal(signal.SIGTERM)))
    assert done


def test_a_signal_whose_error_was_lost_is_raised_when_it_comes_again():
    def lose():
        with stoppable(""):
            with suppress(BaseException):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError):
        lose()


def test_a_signal_is_not_lost_where_a_library_makes_another_error_of_it(capsys):
    def convert():
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise TypeError(f"failed with {error!r}") from None

    with pytest.raises(SystemExit) as ended, stoppable("again"), short_errors():
        convert()
    assert ended.value.code == 75
    assert capsys.readouterr().err == "stopped by SIGTERM; again\n"


def test_a_signal_that_is_held_back_comes_later_and_not_to_a_process_that_is_started_meanwhile():
    printed = []

    def start():
        with stoppable(""):
            hold_back()
            try:
                signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # to this thread alone
                child = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('goes on')"
                printed.append(subprocess.run([sys.executable, "-c", child], capture_output=True).stdout)
            finally:
                let_through()

    with pytest.raises(StoppedError):
        start()
    assert printed == [b"goes on\n"]


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable(""):
            signal.raise_signal(signal.SIGHUP)
            assert not received()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_process_ends_by_a_signal_as_any_other():
    with stoppable(""):
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


@pytest.mark.parametrize(("times", "status"), [(1, 1), (2, -signal.SIGINT)])
def test_a_second_ctrl_c_ends_a_training_at_once(times, status):
    program = f"""
import signal
from winnow.signals import deferred, stoppable
from winnow.errors import short_errors
signal.signal(signal.SIGINT, signal.default_int_handler)
with short_errors(), stoppable("resume"), deferred():
    for _ in range({times}):
        signal.raise_signal(signal.SIGINT)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=CONF.parent, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (status, "interrupted; resume\n" if times == 1 else "")


def test_a_command_is_stopped_with_one_message_while_it_imports_its_packages():
    program = """
import signal, sys
from winnow.commands import cli
sys.argv[1:] = ["seed=1", "resume=false"]
cli.import_module = lambda name: signal.raise_signal(signal.SIGTERM)
cli.run("train")
"""
    environment = {**os.environ, "WINNOW_CONSOLE": "1"}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    expected = "stopped by SIGTERM; resume with: winnow train seed=1 resume=true\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (75, "", expected)
