"""`python -m bench`: measure ingest, queries, lists, start and memory on SQLite and PostgreSQL, and print a table.

The load runs on the same machine as the backend and takes its share of the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.load import TRACES, Events, Result, drive, get, post
from bench.servers import Backend, Postgres

LINES = "application/x-ndjson"

Measured = tuple[str, str, str]


def batches(events: int, size: int, *, compressed: bool) -> list[bytes]:
    """Return requests that post so many events in batches of `size`."""
    source = Events(os.getpid())
    requests = []
    for _ in range(events // size):
        body = "\n".join(source.lines(size)).encode() + b"\n"
        if compressed:
            requests.append(post("/v1/events/batch", LINES, gzip.compress(body, 1), "Content-Encoding: gzip\r\n"))
        else:
            requests.append(post("/v1/events/batch", LINES, body))
    return requests


def singles(events: int) -> list[bytes]:
    """Return requests that post one event each."""
    source = Events(os.getpid())
    return [post("/v1/events", "application/json", source.lines(1)[0].encode()) for _ in range(events)]


def ingest(name: str, backend: Backend, requests: Sequence[bytes], connections: int, size: int) -> Measured:
    """Measure one kind of load."""
    result = asyncio.run(drive(backend.port, requests, connections))
    rate = len(requests) * size / result.seconds
    return name, f"{rate:,.0f} events/s", latency(result)


def latency(result: Result) -> str:
    """Return the latencies in one line."""
    return f"p50 {result.percentile(0.5):.2f} ms, p99 {result.percentile(0.99):.2f} ms"


def fill(backend: Backend, events: int) -> None:
    """Store so many events."""
    source = Events(7)
    left = events
    while left > 0:
        requests = []
        for _ in range(min(100, -(-left // 1000))):
            requests.append(post("/v1/events/batch", LINES, "\n".join(source.lines(1000)).encode()))
            left -= 1000
        asyncio.run(drive(backend.port, requests, 4))


def queries(backend: Backend, count: int) -> Iterator[Measured]:
    """Measure the questions that people ask."""
    source = Events(7)
    trace = [get(f"/v1/traces/{source.trace(n % TRACES)}/events?limit=100") for n in range(count)]
    yield "trace, first 100", *measure(backend, trace)
    agent = [get(f"/v1/agents/restarter-{n % 50}/events?limit=100") for n in range(count)]
    yield "agent, newest 100", *measure(backend, agent)
    yield "deep page of all", *measure(backend, [get(path) for path in deep_pages(backend, count)])


def lists(backend: Backend, runs: int, count: int) -> Iterator[Measured]:
    """Measure the lists of runs, as the API and as a page, once so many are in them."""
    source = Events(7)
    for start in range(0, runs, 1000):
        body = "\n".join(map(source.run, range(start, min(start + 1000, runs)))).encode()
        asyncio.run(drive(backend.port, [post("/v1/events/batch", LINES, body)], 1))
    while True:
        with urllib.request.urlopen(f"{backend.url}/v1/runs?limit=1") as answer:
            if not json.load(answer)["waiting"]:
                break
        time.sleep(0.2)
    for name, path in (
        ("runs, newest 50", "/v1/runs?limit=50"),
        ("runs by words", "/v1/runs?limit=50&text=service+{number}"),
        ("runs by the beginning of a word", "/v1/runs?limit=50&text=400000{number}"),
        ("runs by approver", "/v1/runs?limit=50&approver=reviewer-{number}"),
        ("runs by resource", "/v1/runs?limit=50&resource=service/{number}"),
        ("runs by outcome", "/v1/runs?limit=50&outcome=refused"),
        ("page of runs", "/ui/runs"),
    ):
        yield name, *measure(backend, [get(path.format(number=n % 100)) for n in range(count)])


def measure(backend: Backend, requests: Sequence[bytes]) -> tuple[str, str]:
    """Return rate and latency of requests that are sent one after the other."""
    result = asyncio.run(drive(backend.port, requests, 1))
    return f"{len(requests) / result.seconds:,.0f} /s", latency(result)


def deep_pages(backend: Backend, count: int) -> list[str]:
    """Return paths of pages far from the beginning, each by the cursor that the page before gave out."""
    path = "/v1/events?limit=1000"
    for _ in range(300):
        with urllib.request.urlopen(f"{backend.url}{path}") as answer:
            following = json.load(answer)["next"]
        if following is None:
            break
        path = f"/v1/events?limit=1000&cursor={following}"
    return [path.replace("limit=1000", "limit=100")] * count


def starts(folder: Path, database_url: str | None) -> Iterator[Measured]:
    """Measure how long a start takes, and how much memory an idle backend has."""
    seconds = []
    memory = 0
    for _ in range(5):
        with Backend(folder, database_url) as backend:
            started = time.perf_counter()
            backend.start()
            seconds.append(time.perf_counter() - started)
            memory = backend.memory_bytes()
    yield "start to first answer", f"{statistics.median(seconds):.2f} s", f"slowest of 5: {max(seconds):.2f} s"
    yield "memory, idle", f"{memory / 1e6:.0f} MB", ""


def run(folder: Path, database_url: str | None, options: argparse.Namespace) -> Iterator[Measured]:
    """Measure everything on one store."""
    yield from starts(folder, database_url)
    with Backend(folder, database_url).start() as backend:
        asyncio.run(drive(backend.port, batches(20_000, 500, compressed=False), 4))  # the first run warms up
        for size, connections in ((500, 4), (100, 8), (10, 16)):
            events = max(size * 50, options.events * size // 500)
            best: Measured | None = None
            rates: list[float] = []
            for _ in range(options.rounds):
                requests = batches(events, size, compressed=False)
                result = asyncio.run(drive(backend.port, requests, connections))
                rates.append(len(requests) * size / result.seconds)
                if rates[-1] == max(rates):
                    best = (
                        f"ingest, batch {size}, {connections} connections",
                        f"{rates[-1]:,.0f} events/s",
                        latency(result),
                    )
            assert best
            yield best[0], best[1], f"{best[2]}; median {statistics.median(rates):,.0f}"
        yield ingest("ingest, batch 500, gzip", backend, batches(options.events, 500, compressed=True), 4, 500)
        for _ in range(options.rounds):
            yield ingest("ingest, single POST, 64 connections", backend, singles(options.singles), 64, 1)
        fill(backend, options.stored)
        yield from queries(backend, 2000)
        yield from lists(backend, options.runs, 300)
        yield "memory, after the load", f"{backend.memory_bytes() / 1e6:.0f} MB", ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--events", type=int, default=200_000, help="events in each ingest round at batch 500")
    parser.add_argument("--singles", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stored", type=int, default=1_000_000, help="events stored before the queries are measured")
    parser.add_argument("--runs", type=int, default=100_000, help="runs in the lists before these are measured")
    options = parser.parse_args()
    for store in ("sqlite", "postgres"):
        if options.store not in (store, "both"):
            continue
        print(f"\n{store}")
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aimgentix-bench-")))
            url = stack.enter_context(Postgres()).new_database() if store == "postgres" else None
            for what, value, more in run(folder, url, options):
                print(f"  {what:42} {value:>20}   {more}", flush=True)


if __name__ == "__main__":
    main()
