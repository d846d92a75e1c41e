# mypy: disable-error-code="import-not-found"
"""Measures Phoenix with SQLite, its default, as `audit.store` starts it in Phoenix's environment.

python -m audit.phoenix_worker JSON   {"quick": bool}

Phoenix answers 200 when a span is in its memory.  What compares to an acknowledgement after the commit is the time
until the spans are rows of its database, so both are measured.  Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from audit.event import attributes

HOST = "127.0.0.1"
LOAD = {"500": 3000, "100": 3000, "1": 500}
CONNECTIONS = {"500": 4, "100": 4, "1": 16}
PATIENCE_SECONDS = 300.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, float]]:
    """Start Phoenix; yield its process, its port and the seconds until it answered."""
    port = free_port()
    environment = {
        **os.environ,
        "PHOENIX_HOST": HOST,
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    began = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "phoenix.server.main", "serve"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        while True:
            if process.poll() is not None or time.perf_counter() - began > PATIENCE_SECONDS:
                raise RuntimeError(f"Phoenix does not start:\n{(folder / 'log').read_text(errors='replace')[-2000:]}")
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"http://{HOST}:{port}/healthz", timeout=5).close()
                break
            time.sleep(0.05)
        yield process, port, time.perf_counter() - began
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def request(numbers: range) -> bytes:
    """Return a whole HTTP request that exports one span for each number, all of one trace."""
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    trace = os.urandom(16)
    now = time.time_ns()
    for number in numbers:
        span = spans.add(
            trace_id=trace,
            span_id=os.urandom(8),
            name="api_call",
            kind=1,
            start_time_unix_nano=now,
            end_time_unix_nano=now + 12_500_000,
        )
        for key, value in attributes(number).items():
            span.attributes.add(key=key).value.string_value = str(value)
    body = message.SerializeToString()
    head = f"POST /v1/traces HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/x-protobuf\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + bytes(body)


async def send(port: int, requests: list[bytes], connections: int) -> None:
    """Send all requests; one that is refused because the queue is full is sent again."""

    async def worker() -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        while requests:
            body = requests.pop()
            writer.write(body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            start = head.index(b"content-length:") + len(b"content-length:")
            await reader.readexactly(int(head[start : head.index(b"\r\n", start)]))
            if head.split()[1] != b"200":
                requests.append(body)
                await asyncio.sleep(0.05)
        writer.close()

    await asyncio.gather(*(worker() for _ in range(connections)))


def stored(folder: Path) -> int:
    """Return how many spans the database has."""
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'phoenix.db'}?mode=ro", uri=True)) as connection:
        count: int = connection.execute("SELECT count(*) FROM spans").fetchone()[0]
        return count


def main() -> None:
    """Measure and print the figures."""
    quick = json.loads(sys.argv[1])["quick"]
    figures: dict[str, Any] = {"starts": [], "ingest": {}}
    for size, events in LOAD.items():  # each with a database of its own, which is also a start
        count = events // (6 if quick else 1)
        print(f"phoenix: batch {size}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-phoenix-") as scratch:
            folder = Path(scratch)
            with server(folder) as (process, port, seconds):
                figures["starts"].append(seconds)
                time.sleep(1)
                pages = int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1])
                figures["memory"] = pages * os.sysconf("SC_PAGE_SIZE")
                requests = [request(range(at, at + int(size))) for at in range(0, count, int(size))]
                began = time.perf_counter()
                asyncio.run(send(port, requests, CONNECTIONS[size]))
                acknowledged = time.perf_counter() - began
                while stored(folder) < count and time.perf_counter() - began < PATIENCE_SECONDS:
                    time.sleep(0.1)
                took = time.perf_counter() - began
                figures["ingest"][size] = {"acknowledged": count / acknowledged, "stored": stored(folder) / took}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
