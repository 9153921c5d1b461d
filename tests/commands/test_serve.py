"""The command as a process of its own, in an environment without the packages that only training needs."""

import http.client
import json
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from tests.deployed import deploy
from tests.toys import failure
from winnow.deployment.pipeline import open_pipeline
from winnow.files.conf_folder import CONF

LABELS = ["negative", "positive"]
TEXTS = ["the plot was good", "although the end was bad , the hero was good", "the cast was not fine"]
WITHOUT = ["datasets", "matplotlib", "onnx", "pandas", "pyarrow", "pytorch_lightning", "torch", "transformers"]
START = f"""
import sys
sys.modules.update(dict.fromkeys({WITHOUT}))  # as if they were not installed
from winnow.commands.cli import main
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    settings = {"threshold": 0.3, "long_texts": "windows", "stride": 2, "max_length": 8}
    return deploy(tmp_path_factory.mktemp("serve") / "deployment", "text_classification", LABELS, **settings)


def started(*arguments, **options):
    command, pipes = [sys.executable, "-c", START, *arguments], {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=CONF.parent, text=True, **pipes, **options)


@pytest.fixture
def server(folder):
    """The process and the port of a server."""
    process = started("serve", f"deployment={folder}", "port=0", "request_seconds=1", "top_k=2")
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:"), process.stderr.read()
    yield process, int(line.split(":")[2].split("/")[0])
    process.kill()
    process.communicate()


def post(port, content):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", "/predict", content if isinstance(content, bytes) else json.dumps(content))
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_predictions_are_the_same_without_torch_and_over_http(folder, server):
    expected = open_pipeline(folder, top_k=2)(TEXTS)
    assert post(server[1], TEXTS) == (200, expected)
    predict = started("predict", f"deployment={folder}", "top_k=2", stdin=subprocess.PIPE)
    printed, _ = predict.communicate("\n".join(TEXTS))
    assert [json.loads(line) for line in printed.splitlines()] == expected


def test_the_server_refuses_what_is_no_request_and_stops_with_status_0(server):
    process, port = server
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 400"
    assert post(port, b"x" * 100_000)[0] == 413
    assert post(port, {"text": TEXTS[0]})[0] == 200
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert process.stderr.read() == ""


def test_commands_of_training_name_the_packages_that_are_missing():
    _, message = started("train").communicate()
    assert message == ("error: winnow train: the package is not installed; pip install 'winnow-transformers[train]'.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["port=70000"], "port must be a port, 0 to 65535, got 70000."),
        (["worker=2"], "worker is not a setting"),
        (["engine=sparse"], "engine=sparse: there is no model.sparse.onnx"),
    ],
)
def test_a_mistake_is_refused_before_the_model_is_loaded(folder, arguments, message):
    assert failure("serve", f"deployment={folder}", *arguments, folder=folder).startswith(f"error: {message}")
