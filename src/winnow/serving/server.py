"""Run an application until a signal: slow clients are disconnected, and requests that have begun are answered."""

import asyncio
import signal
import socket
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from winnow.errors import UserError

_KEEP_ALIVE = 65  # seconds between requests of a connection, more than the 60 of most load balancers


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket for an address; a client can connect from `serve` on.

    Raises:
        UserError: if the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise UserError(
            f"host={host} port={port}: {(error.strerror or str(error)).lower()}; choose another port, or port=0 for a "
            "free one."
        ) from error
    return found


def serve(application: Any, bound: socket.socket, *, request_seconds: float, stop_seconds: int) -> None:
    """Answer requests until SIGTERM, SIGINT or SIGHUP; then those that have begun are finished.

    Args:
        application: in ASGI.
        bound: the socket of the address.
        request_seconds: in which a request must arrive, else its connection is closed.
        stop_seconds: for requests under way after the signal.
    """
    config = uvicorn.Config(
        application,
        http=_connection(request_seconds),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=stop_seconds,
    )
    server = uvicorn.Server(config)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn raises SIGTERM and SIGINT again at its end, with these handlers: the command then exits with status 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
    server.run(sockets=[bound])


def _connection(seconds: float) -> type[H11Protocol]:
    """The connections of uvicorn, closed if a request takes longer to arrive: uvicorn itself waits without a limit."""

    class Connection(H11Protocol):
        timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
            super().connection_made(transport)
            self._watch(arriving=True)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch(arriving=self.conn.their_state in (h11.IDLE, h11.SEND_BODY))

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch(arriving=self.conn.their_state is h11.SEND_BODY)  # the rest of this body, or a next request

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch(arriving=False)
            super().connection_lost(exc)

        def _watch(self, *, arriving: bool) -> None:
            if arriving and self.timer is None:
                self.timer = self.loop.call_later(seconds, self.transport.close)
            elif not arriving and self.timer is not None:
                self.timer.cancel()
                self.timer = None

    return Connection
