"""Requests a second, latency and memory of ``winnow serve``: ``python -m benchmarks.serving DEPLOYMENT --texts FILE``.

The server is a process of its own. Each client is a kept connection that posts one text, and the next one as soon as it
has the answer; all clients share this process, which takes its part of the cores. An answer with another status than
200, or to another text, counts as an error. With ``--disturb`` further clients post malformed, huge and half requests.
"""

import argparse
import asyncio
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.data.reader import Layout, read_file
from winnow.deployment.engines import graph_file
from winnow.deployment.folder import find_deployment
from winnow.errors import short_errors
from winnow.files.local_files import FORMATS
from winnow.machine import describe_machine, machine_lines

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
_IMPORTS = {
    "python": "",
    "winnow.open_pipeline": "import winnow; winnow.open_pipeline",
    "the server": "import winnow.commands.serve, winnow.deployment.pipeline, winnow.serving.app, winnow.serving.server",
    "a training": "import winnow.training.run",
}


def request(content: str) -> bytes:
    body = content.encode()
    return _HEAD % len(body) + body


# What the disturbing clients send: whole requests that are refused or large, and beginnings of requests.
_WHOLE = {
    "malformed JSON": request('{"text": '),
    "deeply nested": request("[" * 20_000),
    "no text": request('{"txt": 1}'),
    "largest": request(json.dumps({"text": "word " * 13_000})),
    "too large": request(json.dumps({"text": "word " * 2_000_000})),
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
}
_HALF = {"no request": b"", "half a head": _HEAD[:20], "half a body": request('{"text": "a"}')[:-4]}


@dataclass
class Measured:
    """What the clients have seen.

    Args:
        seconds: of each request.
        errors: of the clients that disturb no one, by description.
        disturbing: the statuses of the others, by what they sent.
    """

    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    disturbing: dict[str, Counter[str]] = field(default_factory=dict)


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return int(head[9:12]), await reader.readexactly(int(length[1]) if length else 0)


async def ask(port: int, texts: Iterator[str], until: float, found: Measured) -> None:
    """One client."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        text = next(texts)
        began = time.perf_counter()
        writer.write(request(json.dumps({"text": text})))
        status, body = await response(reader)
        found.seconds.append(time.perf_counter() - began)
        if status != 200 or json.loads(body)["text"] != text:
            found.errors[f"status {status}"] += 1
    writer.close()


async def disturb(port: int, name: str, content: bytes, until: float, found: Measured) -> None:
    """One client that sends the same again and again, each time over a new connection."""
    statuses = found.disturbing.setdefault(name, Counter())
    while time.monotonic() < until:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(content)
            await writer.drain()
            statuses[str((await response(reader))[0])] += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            statuses["disconnected"] += 1
        writer.close()
        await asyncio.sleep(0.2)


async def load(port: int, texts: Sequence[str], clients: int, seconds: float, disturbing: bool) -> Measured:
    """Ask for some time."""
    found, until, shared = Measured(), time.monotonic() + seconds, itertools.cycle(texts)
    tasks = [ask(port, shared, until, found) for _ in range(clients)]
    if disturbing:
        tasks += [disturb(port, *each, until, found) for each in (_WHOLE | _HALF).items()]
    await asyncio.gather(*tasks)
    return found


def megabytes(process: int) -> float:
    """The resident memory of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6


def measured_server(folder: Path, engine: str, texts: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Start a server, load it, stop it."""
    command = [
        sys.executable,
        "-m",
        "src.serve",
        f"deployment={folder}",
        f"engine={engine}",
        "port=0",
        *options.settings,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline().rpartition(":")[2].partition("/")[0])
            memory = [megabytes(server.pid)]
            asyncio.run(load(port, texts, options.clients, 5, False))  # memory that is allocated once
            memory.append(megabytes(server.pid))
            began = time.monotonic()
            found = asyncio.run(load(port, texts, options.clients, options.seconds, options.disturb))
            took = time.monotonic() - began
            memory.append(megabytes(server.pid))
        finally:
            server.send_signal(signal.SIGTERM)
            status = server.wait()
    percentiles = statistics.quantiles(found.seconds, n=100)
    return {
        "engine": engine,
        "requests": len(found.seconds),
        "requests a second": len(found.seconds) / took,
        "p50 ms": percentiles[49] * 1e3,
        "p99 ms": percentiles[98] * 1e3,
        "max ms": max(found.seconds) * 1e3,
        "errors": dict(found.errors),
        "MB ready, after 5 s, at the end": memory,
        "MB of the graph": graph_file(folder, engine).stat().st_size / 1e6,
        "exit status": status,
        **(
            {"disturbing": {name: dict(statuses) for name, statuses in found.disturbing.items()}}
            if options.disturb
            else {}
        ),
    }


def import_times() -> Iterator[str]:
    """Processor time and resident memory of imports, the best of three processes each."""
    code = "import resource; u = resource.getrusage(0); print(u.ru_utime + u.ru_stime, u.ru_maxrss * 1024 / 1e6)"
    for name, imports in _IMPORTS.items():
        command = [sys.executable, "-c", f"{imports}\n{code}"]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(3)]
        seconds, memory = (min(map(float, values)) for values in zip(*runs, strict=True))
        yield f"import of {name}: {seconds:.2f} s of processor time, {memory:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deployment", type=Path, help="folder of a text classification, or its run")
    parser.add_argument("--texts", type=Path, required=True, help="file with texts")
    parser.add_argument("--column", default="text", help="of the texts; default: text")
    parser.add_argument("--engines", nargs="+", default=["onnxruntime"], metavar="NAME")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--disturb", action="store_true", help="further clients send malformed, huge and half requests")
    parser.add_argument("--imports", action="store_true", help="measure imports too")
    parser.add_argument("settings", nargs="*", help="of the server, such as workers=1")
    options = parser.parse_intermixed_args()
    with short_errors():
        print(machine_lines(describe_machine(["onnxruntime", "uvicorn", "starlette"], os.cpu_count())), flush=True)
        for line in import_times() if options.imports else ():
            print(line, flush=True)
        layout = Layout(FORMATS[options.texts.suffix])
        texts = [str(row[options.column]) for _, row in read_file(options.texts, layout)]
        for engine in options.engines:
            print(f"\n{options.clients} clients, {len(texts):,} texts")
            for name, value in measured_server(find_deployment(options.deployment), engine, texts, options).items():
                print(f"{name:32} {value:.1f}" if isinstance(value, float) else f"{name:32} {value}", flush=True)


if __name__ == "__main__":
    main()
