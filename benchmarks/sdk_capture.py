"""What the SDK costs a process: each capture, the import, the exit with a dead backend, a burst, and a drain.

    python benchmarks/sdk_capture.py [--events N] [--python PATH]

Each figure comes from processes of their own, so that nothing is warm by accident. `capture` is measured with the
journal on and no backend; `call` is the whole of what an agent writes: making the event and capturing it, with a
resource and a number that are new each time. The best of five runs counts: the others say more about the machine.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SDK = Path(__file__).resolve().parent.parent / "template" / "sdk"
RUNS = 5
IMPORT_RUNS = 31
SEGMENTS = 1500

CAPTURE = """
import json, sys, time
from aimgentix import ActionType, ActorType, AuditClient, AuditEvent, EventStatus
count, kind = int(sys.argv[1]), sys.argv[2]
client = AuditClient(agent_instance_id="restarter-1", trace_id="run-42")

def make(number):
    output = " ".join(f"key{n}=value{n}" for n in range(number, number + 400))[:4096]
    more = {"output": output} if kind == "4 KB" else {}
    return AuditEvent("restarter-1", "run-42", ActorType.AGENT, ActionType.TOOL_CALL, f"service/payments/{number}",
                      EventStatus.SUCCESS, 12.5, {"tool": "kubectl", "args": "rollout restart deploy/payments",
                      "attempt": number, "region": "eu-west-1", "ok": True, "namespace": "payments", "replicas": 3,
                      **more})

for number in range(1000):
    client.capture(make(number))
events = [] if kind == "call" else [make(number) for number in range(count)]
clock = time.perf_counter
spent = []
if kind != "call":
    for event in events:
        started = clock()
        client.capture(event)
        spent.append(clock() - started)
else:
    for number in range(count):
        started = clock()
        client.capture(make(number))
        spent.append(clock() - started)
spent.sort()
print(json.dumps({"mean": sum(spent) / count * 1e6, "p99": spent[count * 99 // 100] * 1e6}))
"""
EXIT = """
import sys, time
from aimgentix import AuditClient
client = AuditClient(sys.argv[1], api_key="benchmark-key", agent_instance_id="a", trace_id="t")
for number in range(int(sys.argv[2])):
    client.record("tool_call", f"service/{number}")
print(time.monotonic(), flush=True)
"""

LEAVE = f"""
from aimgentix import AuditClient
for number in range({SEGMENTS}):
    with AuditClient(agent_instance_id="a", trace_id="t") as client:
        client.record("tool_call", f"service/{{number}}")
"""


@dataclass(frozen=True)
class Row:
    """One figure, with the highest value that is accepted."""

    name: str
    value: float
    target: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether the target is met."""
        return self.value <= self.target


def environment(folder: str) -> dict[str, str]:
    """The environment of a measured process: the SDK, a journal of its own, and no settings of this machine."""
    return {"PYTHONPATH": str(SDK), "AIMGENTIX_JOURNAL_DIR": folder, "PATH": os.environ.get("PATH", "")}


def run(python: str, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script with a journal of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-sdk-") as folder:
        return subprocess.run(
            [python, "-c", script, *map(str, arguments)],
            env=environment(folder),
            capture_output=True,
            text=True,
            check=True,
        )


def capture_rows(python: str, events: int) -> list[Row]:
    """Measure what a capture takes of the caller's time, in microseconds."""
    rows = []
    for kind, mean_target, p99_target in (("capture", 10.0, 30.0), ("call", 15.0, 30.0), ("4 KB", 40.0, 80.0)):
        runs = [json.loads(run(python, CAPTURE, events, kind).stdout) for _ in range(RUNS)]
        best = min(runs, key=lambda figures: figures["mean"])
        rows.append(Row(f"{kind}, mean", best["mean"], mean_target, "µs"))
        rows.append(Row(f"{kind}, p99", best["p99"], p99_target, "µs"))
    return rows


def import_row(python: str) -> Row:
    """Measure the import over a bare interpreter, in milliseconds: medians, the two in turns."""
    times: dict[str, list[float]] = {"pass": [], "import aimgentix": []}
    for _ in range(IMPORT_RUNS):
        for script, spent in times.items():
            started = time.perf_counter()
            subprocess.run([python, "-c", script], env=environment(""), check=True)
            spent.append((time.perf_counter() - started) * 1000)
    bare, imported = (sorted(spent)[IMPORT_RUNS // 2] for spent in times.values())
    return Row("import over bare Python", imported - bare, 15.0, "ms")


@contextmanager
def dead_backend(hanging: bool) -> Iterator[str]:
    """The address of a backend that takes connections and never answers, or of one that is not there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if hanging:
            listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def exit_rows(python: str) -> list[Row]:
    """Measure how long a process with a dead backend lives after its last event, and how much it complains."""
    rows = []
    for name, hanging in (("nobody listens", False), ("hangs", True)):
        seconds, lines = [], []
        for _ in range(RUNS):
            with dead_backend(hanging) as url:
                done = run(python, EXIT, url, 10_000)
                seconds.append(time.monotonic() - float(done.stdout))
                lines.append(len(done.stderr.splitlines()))
        rows.append(Row(f"exit, backend {name}", min(seconds), 1.0, "s"))
        rows.append(Row(f"lines on stderr, backend {name}", max(lines), 1, ""))
    return rows


@contextmanager
def backend(stored: set[str]) -> Iterator[str]:
    """The address of a backend that takes everything, and notes the ids of the events in `stored`."""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=receive, args=(connection, stored), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def burst_row(python: str) -> Row:
    """Count what is missing of a burst of 20,000 events after the process ended and the journal was drained."""
    stored: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="bench-sdk-") as folder, backend(stored) as url:
        for command in (["-c", EXIT, url, "20000"], ["-m", "aimgentix", "journal", "drain", "--api-url", url]):
            subprocess.run([python, *command], env=environment(folder), capture_output=True, check=True)
    return Row("events lost of a burst of 20,000", 20_000 - len(stored), 0, "")


def drain_rows(python: str) -> list[Row]:
    """Measure `journal drain` of what many short processes have left, and count what is missing."""
    seconds, lost = [], 0
    for _ in range(RUNS):
        stored: set[str] = set()
        with tempfile.TemporaryDirectory(prefix="bench-sdk-") as folder, backend(stored) as url:
            subprocess.run([python, "-c", LEAVE], env=environment(folder), capture_output=True, check=True)
            started = time.monotonic()
            command = [python, "-m", "aimgentix", "journal", "drain", "--api-url", url]
            subprocess.run(command, env=environment(folder), capture_output=True, check=True)
            seconds.append(time.monotonic() - started)
        lost = max(lost, SEGMENTS - len(stored))
    return [
        Row(f"drain of {SEGMENTS:,} one-event segments", min(seconds), 0.5, "s"),
        Row("events lost of these", lost, 0, ""),
    ]


def receive(connection: socket.socket, stored: set[str]) -> None:
    """Answer the batches of one connection, and note the ids of their events."""
    with connection, connection.makefile("rb") as stream:
        while stream.readline():
            headers = {}
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                headers[name.strip().lower()] = value.strip()
            body = stream.read(int(headers[b"content-length"]))
            if headers.get(b"content-encoding") == b"gzip":
                body = gzip.decompress(body)
            stored.update(json.loads(line)["event"]["event_id"] for line in body.splitlines())
            answer = b'{"received": %d}' % len(body.splitlines())
            connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))


def main() -> int:
    """Measure, print the table, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="Measure what the SDK costs a process.")
    parser.add_argument("--events", type=int, default=20_000, help="captures in each run (default %(default)s)")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has requests (default: this)")
    options = parser.parse_args()
    rows = [
        *capture_rows(options.python, options.events),
        import_row(options.python),
        *exit_rows(options.python),
        burst_row(options.python),
        *drain_rows(options.python),
    ]
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}}      value    target")
    for row in rows:
        verdict = "" if row.holds else "  missed"
        print(f"{row.name:{width}}  {row.value:9.2f} {row.target:9.2f} {row.unit}{verdict}".rstrip())
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
