import asyncio
import http.client
import os
import signal
import socket
import threading
from contextlib import ExitStack, closing

import pytest

from winnow.errors import UserError
from winnow.serving.server import bound_socket, serve

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n"
BEGINNINGS = (b"", b"POST / HT", HEAD, HEAD + b"\r\n", HEAD + b"\r\n{")  # of requests


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def bound():
    with bound_socket("127.0.0.1", 0) as found:
        found.listen()
        yield found


class Application:
    """Answers with the length of the body, ``seconds`` after it has begun."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.begun = threading.Event()

    async def __call__(self, scope, receive, send):
        message = await receive()
        while message["type"] == "http.request" and message["more_body"]:
            message = await receive()
        self.begun.set()
        await asyncio.sleep(self.seconds)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def while_serving(application, bound, client):
    """What a client in a thread returns while the server runs, which must end with a signal."""
    results = []

    def run():
        try:
            results.append(client(bound.getsockname()[1]))
        finally:
            if not results:
                os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=run)
    thread.start()
    serve(application, bound, request_seconds=0.5, stop_seconds=10)
    thread.join()
    return results[0]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_lets_a_request_that_has_begun_end(bound, number):
    application = Application(seconds=0.5)

    def client(port):
        with connected(port) as idle, closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("POST", "/", b"a")
            assert application.begun.wait(timeout=30)
            os.kill(os.getpid(), number)
            response = connection.getresponse()
            return response.status, response.read(), idle.recv(10)

    assert while_serving(application, bound, client) == (200, b"ok", b"")


def test_only_requests_that_do_not_arrive_are_disconnected(bound):
    def client(port):
        with ExitStack() as stack:
            slow = [stack.enter_context(connected(port)) for _ in BEGINNINGS]
            for connection, sent in zip(slow, BEGINNINGS, strict=True):
                connection.sendall(sent)
            kept = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)))
            contents = []
            for _ in range(2):  # the second request begins later than a request may take
                kept.request("POST", "/", b"a")
                contents.append(kept.getresponse().read())
                ends = [connection.recv(10) for connection in slow]
            os.kill(os.getpid(), signal.SIGTERM)
            return contents, ends

    assert while_serving(Application(), bound, client) == ([b"ok"] * 2, [b""] * len(BEGINNINGS))


def test_an_address_in_use_is_refused(bound):
    port = bound.getsockname()[1]
    with pytest.raises(UserError, match=f"host=127.0.0.1 port={port}: address already in use; choose another port"):
        bound_socket("127.0.0.1", port)
