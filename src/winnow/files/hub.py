"""The model and data hub: names on it, and doing without it where there is no connection."""

import os
import socket
import urllib.request
from collections.abc import Iterable
from urllib.parse import urlparse

from winnow.files.local_files import looks_local


def work_offline_without_a_connection(names: Iterable[str | None], seconds: float = 3.0) -> None:
    """Where a hub name is used but the hub is out of reach, use its local cache only instead of retrying for a minute.

    To be called before the hub's libraries are imported, which read the environment then.

    Args:
        names: of data sets and models that the command reads; local folders and None need no hub.
        seconds: to wait for a connection.
    """
    if all(name is None or looks_local(name) for name in names):
        return
    if not is_reachable(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), seconds):
        os.environ["HF_HUB_OFFLINE"] = "1"


def is_reachable(url: str, seconds: float = 3.0) -> bool:
    """True if a connection opens within so many seconds; behind a proxy it is taken for granted."""
    if urllib.request.getproxies():
        return True
    address = urlparse(url)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=seconds).close()
    except OSError:
        return False
    return True
