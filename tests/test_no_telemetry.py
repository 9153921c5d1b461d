import os
import shutil
import subprocess
import sys

import matplotlib
import pytest

from tests.toys import TINY

# The commands one after the other in one process, which ends at the first connection that Python makes.
COMMANDS = """
import os, sys
from importlib.util import find_spec

def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect"):
        print(event, arguments, file=sys.stderr)
        os._exit(3)

sys.addaudithook(refuse)

from hydra.core.global_hydra import GlobalHydra
from winnow.commands import evaluate, export, predict, train

for command, *arguments in (
    (train, "task=demo", "recipe=dense", "teacher=none", "recipe.num_epochs=1", "hydra.run.dir=run",
     "task.data.max_train_samples=32", "task.data.max_eval_samples=16", *sys.argv[1:]),
    (export, "run=run", "export.samples=8", "export.batch_size=1", "export.sequence_length=16"),
    (evaluate, "run=run"),
    (evaluate, "run=run", "engine=onnxruntime"),
    (predict, "deployment=run", "text=a good film", "engine=openvino" if find_spec("openvino") else "engine=auto"),
):
    sys.argv[1:] = arguments
    GlobalHydra.instance().clear()
    command.main()
"""
STRACE = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", "trace"]
LOCAL = ("AF_UNIX", "AF_NETLINK", 'inet_addr("127.0.0.1")')


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A folder with the home of a user whose environment has no settings, and the trace of all commands."""
    folder = tmp_path_factory.mktemp("telemetry")
    home = folder / "home"
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HOME": str(home),
        "MPLCONFIGDIR": matplotlib.get_cachedir(),  # its list of fonts, which takes seconds to make
        "OMP_NUM_THREADS": "1",
    }
    can_trace = shutil.which("strace") and subprocess.run(["strace", "true"], capture_output=True).returncode == 0
    command = [*(STRACE if can_trace else ()), sys.executable, "-c", COMMANDS, *TINY]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    return folder


def test_no_library_leaves_an_id_of_the_user_in_the_home_folder(traced):
    assert [path for path in (traced / "home").rglob("*") if path.is_file()] == []


def test_no_command_opens_a_connection(traced):
    if not (traced / "trace").is_file():
        pytest.skip("strace is not installed, or may not trace here")
    calls = (traced / "trace").read_text().splitlines()
    assert [call for call in calls if "AF_" in call and not any(name in call for name in LOCAL)] == []
