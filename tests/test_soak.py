import os
import random
import signal
import subprocess
import sys

import pytest
import torch

from tests.soak.commands import Ended
from tests.soak.damage import PAGE, damage
from tests.soak.states import differences
from winnow.files.conf_folder import CONF

STOPPED = "stopped by SIGTERM at step 3 of 9, which is saved; resume with: python -m src.train resume=true\n"


@pytest.mark.parametrize(("status", "output", "messages", "fault"), [
    (os.EX_TEMPFAIL, "", STOPPED, ""),
    (0, "a table", "", ""),  # it had ended
    (-signal.SIGTERM, "", "", ""),  # it had not begun
    (-signal.SIGTERM, "dense  epoch 1.0", "", "SIGTERM: ended with status -15"),
    (1, "", STOPPED, "SIGTERM: ended with status 1"),
    (os.EX_TEMPFAIL, "", "stopped by SIGTERM\n", "SIGTERM: ended with status 75"),
    (-signal.SIGTERM, "epoch 1\nuse  it\n", "", ""),
    (os.EX_TEMPFAIL, "", f"Traceback (most recent call last):\n{STOPPED}", "SIGTERM: ended with status 75"),
])  # fmt: skip
def test_a_stop_needs_its_status_and_one_message_that_says_how_to_go_on(status, output, messages, fault):
    found = Ended(status, output, messages, seconds=1.0).fault_of_stop(signal.SIGTERM, "use  it")
    assert found.startswith(fault)
    assert bool(found) == bool(fault)


@pytest.mark.parametrize(("status", "messages", "fault"), [
    (1, "error: model.safetensors is damaged.\n", ""),
    (1, "", "ended with status 1 and no message"),
    (-signal.SIGSEGV, "", "ended with status -11 and no message"),
    (1, "Traceback (most recent call last):\nValueError: x\n", "ended with a stack trace"),
])  # fmt: skip
def test_a_refusal_needs_a_message_and_no_stack_trace(status, messages, fault):
    assert Ended(status, "", messages, seconds=1.0).fault() == fault


def test_one_bit_of_a_nested_tensor_is_a_difference():
    state = {"a": [{"b": torch.tensor([1.0, 2.0])}], "c": 1}
    other = {"a": [{"b": torch.tensor([1.0, 2.0])}], "c": 1}
    assert differences(state, other) == []
    other["a"][0]["b"].view(torch.int32)[1] ^= 1
    assert differences(state, other) == ["/a/0/b"]
    assert differences(state, {"a": []}) == [""]


def test_every_damage_changes_the_file_also_one_of_zeros(tmp_path):
    kinds = set()
    for seed in range(200):
        path = tmp_path / str(seed)
        content = bytes(3 * PAGE) if seed % 2 else os.urandom(3 * PAGE)
        path.write_bytes(content)
        kind = damage(path, random.Random(seed))
        kinds.add(kind)
        assert not path.exists() if kind == "removed" else path.read_bytes() != content
    assert kinds == {"flipped bit", "cut short", "page of zeros", "emptied", "removed"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [8, 9])  # a parallel sweep; two processes, quantised
def test_a_training_that_is_killed_stopped_and_damaged_loses_nothing(number):
    command = [sys.executable, "-m", "tests.soak", "--seed=1", f"--round={number}", "--disturbances=5", "--damages=3"]
    ended = subprocess.run(command, cwd=CONF.parent, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "\n     0 lost or passed over in silence\n" in ended.stdout
