# mypy: disable-error-code="import-not-found"
"""Measures the backend on SQLite and on PostgreSQL in turns, as `audit.store` starts it in the backend's environment.

python -m audit.store_worker JSON   {"ingest": bool, "queries": bool, "quick": bool, "events": int}

Prints one JSON object: figures by store. It makes its load with the backend's own tools (`backend/bench`).
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.__main__ import batches, deep_pages, fill, singles
from bench.load import TRACES, Events, drive, get
from bench.servers import Backend, Postgres, ServerFailed

CONNECTIONS = {"500": 4, "100": 8, "1": 64, "single": 64}
LOAD = {"500": 100_000, "100": 50_000, "1": 10_000, "single": 10_000}
"""Events in one round, by batch size."""

AGENTS = 50
SEED = 7  # of the events that `fill` stores


def say(text: str) -> None:
    """Report progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def requests_for(size: str, events: int) -> list[bytes]:
    """Return new requests that post so many events."""
    made: list[bytes] = singles(events) if size == "single" else batches(events, int(size), compressed=False)
    return made


def starts(backend: Backend, rounds: int) -> tuple[list[float], int]:
    """Return the seconds until the first answer of some starts, and the resident bytes of the last when idle."""
    seconds = []
    memory = 0
    for _ in range(rounds):
        began = time.perf_counter()
        backend.start()
        seconds.append(time.perf_counter() - began)
        time.sleep(1)
        memory = backend.memory_bytes()
        backend.stop()
    return seconds, memory


def ingest(backends: dict[str, Backend], figures: dict[str, Any], *, quick: bool) -> None:
    """Measure every kind of load, the stores in turns."""
    for backend in backends.values():
        drive(backend.port, batches(20_000, 500, compressed=False), 4)  # warms up
    for turn in range(2 if quick else 5):
        for size, connections in CONNECTIONS.items():
            for name in list(backends)[:: 1 if turn % 2 == 0 else -1]:
                say(f"ingest: {name}, {size}")
                requests = requests_for(size, LOAD[size] // (5 if quick else 1))
                spent = backends[name].processor_seconds()
                result = drive(backends[name].port, requests, connections)
                spent = backends[name].processor_seconds() - spent
                events = len(requests) * (int(size) if size.isdigit() else 1)
                found = (
                    figures[name].setdefault("ingest", {}).setdefault(size, {"rates": [], "p99_ms": [], "cpu_us": []})
                )
                found["rates"].append(events / result.seconds)
                found["cpu_us"].append(spent / events * 1e6)
                found["p99_ms"].append(result.percentile(0.99))


def queries(backends: dict[str, Backend], figures: dict[str, Any], events: int, *, quick: bool) -> None:
    """Store many events and ask the questions that people ask, one after the other, the stores in turns."""
    source = Events(SEED)
    count = 200 if quick else 1000
    asked: dict[str, dict[str, Sequence[bytes]]] = {}
    for name, backend in backends.items():
        say(f"queries: {name} gets {events:,} events")
        fill(backend, events)
        asked[name] = {
            "trace": [get(f"/v1/traces/{source.trace(n % TRACES)}/events?limit=100") for n in range(count)],
            "agent": [get(f"/v1/agents/restarter-{n % AGENTS}/events?limit=100") for n in range(count)],
            "page": [get(path) for path in deep_pages(backend, count)],
        }
    latencies: dict[tuple[str, str], list[float]] = {}
    for turn in range(1 + (1 if quick else 3)):
        for question in ("trace", "agent", "page"):
            for name in list(backends)[:: 1 if turn % 2 == 0 else -1]:
                result = drive(backends[name].port, asked[name][question], 1)
                if turn:  # the first one warms up
                    latencies.setdefault((name, question), []).extend(result.latencies)
    for (name, question), spent in latencies.items():
        spent.sort()
        figures[name].setdefault("queries", {})[question] = {
            "p50_ms": statistics.median(spent) * 1000,
            "p99_ms": spent[len(spent) * 99 // 100] * 1000,
            "count": len(spent),
        }


def main() -> None:
    """Measure what the argument says, and print the figures."""
    options = json.loads(sys.argv[1])
    figures: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        parent = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-store-")))
        urls: dict[str, str | None] = {"SQLite": None}
        try:
            urls["PostgreSQL"] = stack.enter_context(Postgres()).new_database()
        except ServerFailed as error:
            figures["missing"] = str(error)
        backends = {}
        for name, url in urls.items():
            folder = parent / name
            folder.mkdir()
            backends[name] = stack.enter_context(Backend(folder, url))
            figures[name] = {}
        if options["ingest"]:
            for name, backend in backends.items():
                say(f"starts: {name}")
                figures[name]["starts"], figures[name]["memory"] = starts(backend, 2 if options["quick"] else 7)
        for backend in backends.values():
            backend.start()
        if options["ingest"]:
            ingest(backends, figures, quick=options["quick"])
        if options["queries"]:
            queries(backends, figures, options["events"], quick=options["quick"])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
