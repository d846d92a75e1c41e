"""Parts 4 and 5: what the backend takes in, and how fast it answers."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audit.environments import HERE, plain
from audit.report import Section, Target, table

STORES = ("SQLite", "PostgreSQL")
LOADS = {"500": "batch 500", "100": "batch 100", "1": "batch 1", "single": "single POST"}
LEAST = {("SQLite", "500"): 40_000, ("PostgreSQL", "500"): 25_000, ("SQLite", "single"): 4000}
"""Events a second that are aimed at."""

QUESTIONS = {"trace": "by trace, first 100", "agent": "by agent, newest 100", "page": "deep page of all, 100"}
MOST_MS = {"SQLite": 5.0, "PostgreSQL": 10.0}
START_SECONDS = 1.5
MEMORY_BYTES = 120e6


class MeasurementFailed(RuntimeError):
    """A worker failed; what it said is above."""


def measure(
    python: Path,
    backend: Path,
    phoenix: Path | None,
    *,
    ingest: bool,
    queries: bool,
    quick: bool,
    events: int,
) -> Iterator[Section]:
    """Measure the backend in `backend` with the interpreter that has what it needs, and Phoenix with its own.

    Args:
        ingest: measure starts, memory and ingest.
        queries: measure queries.
        events: stored before queries are measured.
    """
    options = {"ingest": ingest, "queries": queries, "quick": quick, "events": events}
    ours = run_worker(python, "audit.store_worker", options, backend)
    theirs = run_worker(phoenix, "audit.phoenix_worker", {"quick": quick}) if phoenix and ingest else None
    if ingest:
        yield ingest_section(ours, theirs)
        yield starts_section(ours, theirs)
    if queries:
        yield queries_section(ours, events)


def run_worker(python: Path, module: str, options: object, *paths: Path) -> Any:
    """Run a worker and return what it printed; it reports progress on stderr."""
    with tempfile.TemporaryDirectory(prefix="bench-audit-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)  # PostgreSQL runs as a user of its own when this is root
        environment = {**plain(folder, HERE.parent, *paths), "PATH": os.environ.get("PATH", os.defpath)}
        done = subprocess.run(
            [python, "-m", module, json.dumps(options)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:
        raise MeasurementFailed(f"{module} ended with {done.returncode}")
    return json.loads(done.stdout)


def ingest_section(ours: Any, theirs: Any) -> Section:
    """Show what was taken in."""
    section = Section(
        "4. Ingest",
        "Events a second over HTTP, each answered after its commit (SQLite: WAL with `synchronous=FULL`; PostgreSQL: "
        "as installed, `synchronous_commit=on`); load generator, backend and database share the processors. Medians of "
        "the rounds, the stores in turns; best round in brackets. Batches over 4 (500), 8 (100) and 64 connections.",
    )
    rows = []
    for store in STORES:
        if store not in ours:
            section.method += f" {store} was not measured: {ours['missing']}"
            continue
        found = ours[store]["ingest"]
        cells = [f"{statistics.median(found[size]['rates']):,.0f} ({max(found[size]['rates']):,.0f})" for size in LOADS]
        rows.append((f"**aimgentix**, {store}, durable", *cells))
        rows.append((f"p99 of a request on {store}, ms", *(
            f"{statistics.median(found[size]['p99_ms']):.1f}" for size in LOADS
        )))  # fmt: skip
        rows.append((f"processor time of the backend on {store}, µs for each event", *(
            f"{statistics.median(found[size]['cpu_us']):.1f}" for size in LOADS
        )))  # fmt: skip
        for (name, size), least in LEAST.items():
            if name == store:
                rate = statistics.median(found[size]["rates"])
                what = f"ingest, {store}, {LOADS[size]}, durable"
                section.targets.append(Target(what, f"at least {least:,} /s", f"{rate:,.0f} /s", rate >= least))
    if theirs:
        for kind, label in (("stored", "stored"), ("acknowledged", "acknowledged, in memory only")):
            cells = [f"{theirs['ingest'][size][kind]:,.0f}" if size in theirs["ingest"] else "-" for size in LOADS]
            rows.append((f"arize-phoenix, SQLite, {label}", *cells))
            for store in STORES:
                section.ahead += [
                    f"ingest, {LOADS[size]}: arize-phoenix ({label}) {theirs['ingest'][size][kind]:,.0f} /s, ours on "
                    f"{store} {statistics.median(ours[store]['ingest'][size]['rates']):,.0f} /s"
                    for size in theirs["ingest"]
                    if store in ours
                    and theirs["ingest"][size][kind] > statistics.median(ours[store]["ingest"][size]["rates"])
                ]
    section.tables.append(table(("backend", *LOADS.values()), rows))
    return section


def starts_section(ours: Any, theirs: Any) -> Section:
    """Show starts and memory."""
    section = Section(
        "4b. Start and memory",
        "Seconds from starting the process to its first answer (median, slowest in brackets), and resident memory "
        "after a second of doing nothing.",
    )
    rows = []
    measured = [(f"**aimgentix**, {store}", ours[store]) for store in STORES if store in ours]
    for name, found in [*measured, *([("arize-phoenix, SQLite", theirs)] if theirs else [])]:
        seconds, memory = statistics.median(found["starts"]), found["memory"]
        rows.append((name, f"{seconds:.2f} ({max(found['starts']):.2f})", f"{memory / 1e6:.0f}"))
        if found is not theirs:
            plain_name = name.replace("**aimgentix**, ", "")
            section.targets += [
                Target(f"backend start, {plain_name}", "at most 1.5 s", f"{seconds:.2f} s", seconds <= START_SECONDS),
                Target(
                    f"backend memory, idle, {plain_name}",
                    "at most 120 MB",
                    f"{memory / 1e6:.0f} MB",
                    memory <= MEMORY_BYTES,
                ),
            ]
    section.tables.append(table(("backend", "start, s", "memory, MB"), rows))
    return section


def queries_section(ours: Any, events: int) -> Section:
    """Show how fast questions are answered."""
    section = Section(
        f"5. Queries on {events:,} events",
        "Milliseconds over HTTP, one request after the other on one connection, answers of 100 events; the stores in "
        f"turns. The deep page is {min(events, 300_000):,} events from the beginning, reached by cursors.",
    )
    rows = []
    for store in STORES:
        if store not in ours:
            continue
        for question, label in QUESTIONS.items():
            found = ours[store]["queries"][question]
            rows.append(
                (f"{store}, {label}", f"{found['p50_ms']:.2f}", f"{found['p99_ms']:.2f}", f"{found['count']:,}")
            )
            most = MOST_MS[store]
            section.targets.append(
                Target(
                    f"query {label}, {store}, p99",
                    f"at most {most:.0f} ms",
                    f"{found['p99_ms']:.2f} ms",
                    found["p99_ms"] <= most,
                )
            )
    section.tables.append(table(("query", "p50", "p99", "requests"), rows))
    return section
