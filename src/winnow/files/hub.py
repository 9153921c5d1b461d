"""The hub of models and data sets: work offline if it cannot be reached."""

import os
import socket
import urllib.request
from collections.abc import Iterable
from urllib.parse import urlparse

from winnow.files.local_files import looks_local


def work_offline_without_a_connection(names: Iterable[str | None], seconds: float = 3.0) -> None:
    """Use only the local cache of the hub if a hub name is used but the hub cannot be reached.

    Without this each access retries for a minute. Call it before the hub's libraries are imported: they read the
    environment then.

    Args:
        names: of data sets and models that the command reads; local folders and None need no hub.
        seconds: to wait for a connection.
    """
    if all(name is None or looks_local(name) for name in names):
        return
    if not is_reachable(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), seconds):
        os.environ["HF_HUB_OFFLINE"] = "1"


def is_reachable(url: str, seconds: float = 3.0) -> bool:
    """True if a connection opens within ``seconds``; always True behind a proxy."""
    if urllib.request.getproxies():
        return True
    address = urlparse(url)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=seconds).close()
    except OSError:
        return False
    return True
