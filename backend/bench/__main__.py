"""`python -m bench`: measure ingest, queries, lists, start and memory on SQLite and PostgreSQL, and print a table.

The load runs on the same machine as the backend and takes its share of the cores.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.bulk import load
from bench.load import Events, Result, drive, get, post
from bench.servers import Backend, Postgres

LINES = "application/x-ndjson"

Measured = tuple[str, str, str]


def batches(events: int, size: int, *, compressed: bool) -> list[bytes]:
    """Return requests that post so many events in batches of `size`."""
    source = Events()
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
    source = Events()
    return [post("/v1/events", "application/json", source.lines(1)[0].encode()) for _ in range(events)]


class Share:
    """What backend, database and this side take of a processor during a load.

    Args:
        postgres: the database; None: it is part of the backend's process.
    """

    def __init__(self, backend: Backend, postgres: Postgres | None) -> None:
        self._parts = {"backend": backend.processor_seconds}
        if postgres is not None:
            self._parts["PostgreSQL"] = postgres.processor_seconds
        self._before = {name: spent() for name, spent in self._parts.items()}

    def of(self, result: Result, events: int) -> str:
        """Return how much of a core each had, and what the processor time was for one of so many events."""
        shares = []
        for name, spent in self._parts.items():
            took = spent() - self._before[name]
            shares.append(f"{name} {took / result.seconds:.0%} ({took / events * 1e6:.0f} µs each)")
        return ", ".join([*shares, f"load {result.processor_seconds / result.seconds:.0%}"])


def ingest(
    name: str,
    backend: Backend,
    postgres: Postgres | None,
    make: Callable[[], Sequence[bytes]],
    *,
    connections: int,
    size: int,
    rounds: int,
) -> Measured:
    """Measure one kind of load some times; the best counts."""
    found: list[tuple[float, str]] = []
    for _ in range(rounds):
        requests = make()
        share = Share(backend, postgres)
        result = drive(backend.port, requests, connections)
        events = len(requests) * size
        found.append((events / result.seconds, f"{latency(result)}; {share.of(result, events)}"))
    rate, more = max(found)
    return name, f"{rate:,.0f} events/s", f"{more}; median {statistics.median(rate for rate, _ in found):,.0f}"


def latency(result: Result) -> str:
    """Return the latencies in one line."""
    return f"p50 {result.percentile(0.5):.2f} ms, p99 {result.percentile(0.99):.2f} ms"


def fill(backend: Backend, events: int) -> None:
    """Store so many events over HTTP."""
    source = Events(7)
    left = events
    while left > 0:
        requests = []
        for _ in range(min(100, -(-left // 1000))):
            requests.append(post("/v1/events/batch", LINES, "\n".join(source.lines(1000)).encode()))
            left -= 1000
        drive(backend.port, requests, 4)


QUERIES = {
    "trace, first 100": "/v1/traces/bulk-{number}/events?limit=100",
    "agent, newest 100": "/v1/agents/restarter-{number}/events?limit=100",
    "agent, one day": "/v1/agents/restarter-{number}/events?since={day}&until={next_day}",
    "agent, a resource": "/v1/agents/restarter-{number}/events?resource=service/{number}",
    "agent, a resource that is not there": "/v1/agents/restarter-{number}/events?resource=none",
    "agent, denied": "/v1/agents/restarter-{number}/events?status=denied",
    "agent, what people did": "/v1/agents/restarter-{number}/events?actor=human",
    "agent and trace": "/v1/events?agent_instance_id=restarter-1&trace_id=bulk-{number}",
    "denied": "/v1/events?status=denied",
    "denied, a resource that is not there": "/v1/events?status=denied&resource=none",
    "since, a resource": "/v1/events?since=2020-01-01T00:00:00Z&resource=service/{number}",
    "since, a resource that is not there": "/v1/events?since=2020-01-01T00:00:00Z&resource=none",
    "since, a rare kind of action": "/v1/events?since=2020-01-01T00:00:00Z&action_type=db_query",
    "one day, no such action": "/v1/events?since={day}&until={next_day}&action_type=file_write",
    "gaps of a trace": "/v1/traces/bulk-{number}/gaps",
}
LISTS = {
    "runs, newest 50": "/v1/runs?limit=50",
    "runs by words": "/v1/runs?limit=50&text=service+{number}",
    "runs by the beginning of a word": "/v1/runs?limit=50&text=400000{number}",
    "runs by words that none has together": "/v1/runs?limit=50&text=refused+acted",
    "runs by approver": "/v1/runs?limit=50&approver=reviewer-{number}",
    "runs by resource": "/v1/runs?limit=50&resource=service/{number}",
    "runs by outcome": "/v1/runs?limit=50&outcome=refused",
    "runs by outcome and words": "/v1/runs?limit=50&outcome=refused&text=acme",
    "runs by outcome and words, none": "/v1/runs?limit=50&outcome=refused&text=acted",
    "runs by agent and outcome": "/v1/runs?limit=50&agent=restarter-{number}&outcome=rejected",
    "runs by agent and outcome, none": "/v1/runs?limit=50&agent=restarter-0&outcome=refused",
    "runs by agent and resource": "/v1/runs?limit=50&agent=restarter-1&resource=service/{number}",
    "runs by approver and outcome": "/v1/runs?limit=50&approver=reviewer-{number}&outcome=refused",
    "runs by trail": "/v1/runs?limit=50&trail=intact&agent=none",
    "runs by everything": "/v1/runs?limit=50&outcome=refused&agent=restarter-3&approver=reviewer-1&text=acme",
    "agents": "/v1/agents?limit=50",
    "page of runs": "/ui/runs",
    "page of one run": "/ui/run?trace=bulk-{number}",
    "page of trails": "/ui/trails",
}


def asked(backend: Backend, questions: Mapping[str, str], count: int) -> Iterator[Measured]:
    """Measure the questions that people ask."""
    at = time.time() - 4 * 86400
    times = {
        name: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at + seconds))
        for name, seconds in (("day", 0), ("next_day", 86400))
    }
    for name, path in questions.items():
        yield name, *measure(backend, [get(path.format(number=n % 50, **times)) for n in range(count)])


def measure(backend: Backend, requests: Sequence[bytes]) -> tuple[str, str]:
    """Return rate and latency of requests that are sent one after the other, once the first few have been."""
    drive(backend.port, requests[:5], 1)
    result = drive(backend.port, requests, 1)
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


def run(folder: Path, postgres: Postgres | None, options: argparse.Namespace) -> Iterator[Measured]:
    """Measure everything on one store."""
    url = None if postgres is None else postgres.new_database()
    if "start" in options.parts:
        yield from starts(folder, url)
    with Backend(folder, url).start() as backend:
        if "ingest" in options.parts:
            drive(backend.port, batches(20_000, 500, compressed=False), 4)  # the first run warms up
            for size, connections in ((500, 4), (100, 8), (10, 16)):
                events = max(size * 50, options.events * size // 500)
                make = partial(batches, events, size, compressed=False)
                name = f"ingest, batch {size}, {connections} connections"
                yield ingest(name, backend, postgres, make, connections=connections, size=size, rounds=options.rounds)
            make = partial(batches, options.events, 500, compressed=True)
            yield ingest("ingest, batch 500, gzip", backend, postgres, make, connections=4, size=500, rounds=1)
        if "single" in options.parts:
            make = partial(singles, options.singles)
            name = "ingest, single POST, 64 connections"
            yield ingest(name, backend, postgres, make, connections=64, size=1, rounds=options.rounds)
        if "queries" in options.parts:
            backend.stop()
            started = time.perf_counter()
            load(backend.database_url, options.stored, options.runs)
            yield "loaded in bulk", f"{options.stored:,} events", f"in {time.perf_counter() - started:.0f} s"
            backend.start()
            yield from asked(backend, QUERIES, options.asked)
            yield "deep page of all", *measure(backend, [get(path) for path in deep_pages(backend, options.asked)])
            yield from asked(backend, LISTS, options.asked)
        yield "memory, after the load", f"{backend.memory_bytes() / 1e6:.0f} MB", ""


PARTS = ("start", "ingest", "single", "queries")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure; default all")
    parser.add_argument("--events", type=int, default=200_000, help="events in each ingest round at batch 500")
    parser.add_argument("--singles", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--stored", type=int, default=1_000_000, help="events loaded in bulk before the queries are measured"
    )
    parser.add_argument("--runs", type=int, default=100_000, help="runs that are listed then")
    parser.add_argument("--asked", type=int, default=200, help="how often each query is asked")
    options = parser.parse_args()
    for store in ("sqlite", "postgres"):
        if options.store not in (store, "both"):
            continue
        print(f"\n{store}")
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aimgentix-bench-")))
            postgres = stack.enter_context(Postgres()) if store == "postgres" else None
            for what, value, more in run(folder, postgres, options):
                print(f"  {what:42} {value:>20}   {more}", flush=True)


if __name__ == "__main__":
    main()
