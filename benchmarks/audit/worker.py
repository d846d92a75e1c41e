"""One process that uses one SDK, as the parts of the benchmark start it in the peers' environment.

python -m audit.worker capture OPENER URL FOLDER ROUNDS EVENTS   time calls; print one JSON object
python -m audit.worker large OPENER URL FOLDER ROUNDS EVENTS     the same with the large event
python -m audit.worker end OPENER URL FOLDER HOW EVENTS          capture without a flush; print one JSON object; end so
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

from audit.adapters import by_opener
from audit.event import make_large

PACE_SECONDS = 0.1
"""Between two events of a process that continues working."""


def time_calls(capture: Callable[[int], object], flush: Callable[[], object], rounds: int, events: int) -> None:
    """Time every call of `capture`, with a flush after each round, and print the nanoseconds.

    One round to warm up is not timed. The processor time is that of the whole process: all threads, and the flushes.
    """
    spent: list[int] = []
    clock = time.perf_counter_ns
    cpu = 0.0
    for turn in range(rounds + 1):
        if turn == 1:
            cpu = time.process_time()
        for number in range(turn * events, (turn + 1) * events):
            started = clock()
            capture(number)
            spent.append(clock() - started)
        flush()
    cpu = time.process_time() - cpu
    print(json.dumps({"nanoseconds": spent[events:], "cpu_seconds": cpu}), flush=True)


def end(capture: Callable[[int], object], how: str, events: int) -> None:
    """Capture all events, say when the last of them was captured, and end as `how` says."""
    started = time.monotonic()
    if how == "work":  # and be killed while at it
        print(json.dumps({"working": True}), flush=True)
    for number in range(events):
        capture(number)
        if how == "work":
            print(number, flush=True)
            time.sleep(PACE_SECONDS)
    now = time.monotonic()
    print(json.dumps({"loop_seconds": now - started, "captured_at": now}), flush=True)
    if how == "raise":
        raise RuntimeError("nobody catches this")
    if how == "exit":
        os._exit(0)
    if how == "wait":
        time.sleep(60)


def main() -> None:
    """Run what the arguments say."""
    task, opener, url, folder, how, events = sys.argv[1:]
    session = by_opener(opener).open(url, folder)
    if task == "large":
        make_large()
    if task in ("capture", "large"):
        time_calls(session.capture, session.flush, int(how), int(events))
    else:
        end(session.capture, how, int(events))


if __name__ == "__main__":
    main()
