"""Measure the audit trail beside its peers in one run, and print Markdown: `make bench-audit`.

    python benchmarks/audit/run.py [--quick] [--only PART ...] [--with-phoenix] [--events N]     # --help says more

What it needs it installs below build/bench/audit, from locks with hashes; PostgreSQL's programs must be there for its
part. Everything listens on the loopback interface, and nothing runs on or stays behind. The result is also written to
build/bench/audit.md. The exit code is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from audit import environments, sdks, store
from audit.adapters import PEERS
from audit.processes import Bench
from audit.report import Section, targets_table

RESULT = environments.ROOT / "build" / "bench" / "audit.md"
PARTS = ("capture", "exits", "broken", "ingest", "queries")


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Run the parts that were asked for."""
    few = options.quick
    if {"capture", "exits", "broken"} & set(options.only):
        with Bench(environments.peers()) as bench:
            if "capture" in options.only:
                yield sdks.capture(bench, 3 if few else 7, 10 if few else 60)
                yield sdks.imports(bench, 3 if few else 11)
            if "exits" in options.only:
                yield sdks.exits(bench, 1 if few else 3)
            if "broken" in options.only:
                yield sdks.burst(bench, 1 if few else 3)
                yield sdks.broken(bench, 1 if few else 3)
    if {"ingest", "queries"} & set(options.only):
        yield from store.measure(
            environments.backend(options.backend),
            options.backend.resolve(),
            environments.phoenix() if options.with_phoenix else None,
            ingest="ingest" in options.only,
            queries="queries" in options.only,
            quick=few,
            events=options.events or (50_000 if few else 1_000_000),
        )


def render(sections: list[Section], started: float, load: float) -> str:
    """Return everything as one Markdown text."""
    targets = [target for section in sections for target in section.targets]
    ahead = [line for section in sections for line in section.ahead]
    parts = [
        "## Audit trail, side by side in one run",
        machine(started, load),
        *(section.render() for section in sections),
        "### Targets",
        targets_table(targets),
        "### Cells where a peer is ahead of us",
        "\n".join(f"- {line}" for line in ahead) or "None.",
    ]
    return "\n\n".join(parts) + "\n"


def machine(started: float, load: float) -> str:
    """Return where and when this ran, and with which versions."""
    installed = {
        each.metadata["Name"].lower(): each.version
        for each in distributions(path=[str(path) for path in environments.BUILD.glob("*/lib/python*/site-packages")])
    }
    names = sorted({sdk.package for sdk in PEERS} | {"arize-phoenix", "fastapi", "uvicorn", "psycopg"})
    versions = ", ".join(f"{name} {installed[name]}" for name in names if name in installed)
    return (
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(started))} UTC, {(time.time() - started) / 60:.0f} minutes; "
        f"{os.cpu_count()} processors ({processor()}), {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}; load average {load:.1f} at the start, "
        f"{os.getloadavg()[0]:.1f} at the end. {versions}."
    )


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> int:
    """Measure, print, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="Measure the audit trail's SDK and backend beside their peers.")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that everything works, not to quote")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--with-phoenix", action="store_true", help="measure Phoenix too, which is 800 MB to install")
    parser.add_argument("--events", type=int, help="stored before queries are measured (default 1,000,000)")
    parser.add_argument("--backend", type=Path, default=environments.BACKEND, help="another tree of the backend")
    parser.add_argument("--lock", action="store_true", help="write requirements/*.lock anew with the newest versions")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an end by exception cleans up
    try:
        if options.lock:
            environments.write_locks()
            return 0
        started, load = time.time(), os.getloadavg()[0]
        sections = list(measure(options))
    except (environments.EnvironmentFailed, store.MeasurementFailed) as error:
        print(error, file=sys.stderr)
        return 2
    text = render(sections, started, load)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(target.holds for section in sections for target in section.targets) else 1


if __name__ == "__main__":
    raise SystemExit(main())
