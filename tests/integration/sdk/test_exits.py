"""The exit matrix: however a process ends, whatever the backend does, no event is lost after the drain.

Real processes, really killed. A step that is cancelled has bash as its entry process, as on GitHub's runner: the runner
signals bash, bash passes it to nobody, and at the end the whole tree is killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from aimgentix.journal import read_events, verify_directory
from support.sdk.helpers import child_environment

COUNT = 100
# The client gives a dead backend one second.  The rest is for a machine that other processes share; benchmarks/audit
# measures the second itself.
EXIT_SECONDS = 6.0
# A backend that answers at once, however it answers, gets all the time it needs: there is one attempt, and how fast a
# busy machine connects is not what is tried here.
PATIENT = {"AIMGENTIX_EXIT_TIMEOUT": "20"}

SCRIPT = """
import os, signal, sys, time
import aimgentix
end, url, directory, marker = sys.argv[1:]
client = aimgentix.AuditClient(url or None, api_key="k" * 20, journal_dir=directory)
for number in range(100):
    client.record("tool_call", f"r{number}")
with open(marker + ".new", "w") as file:
    file.write(str(time.monotonic()))
os.rename(marker + ".new", marker)
if end == "return":
    pass
elif end == "sys.exit":
    sys.exit(7)
elif end == "raise":
    raise RuntimeError("uncaught")
elif end == "os._exit":
    os._exit(9)
else:
    time.sleep(60)
"""
ENDS = {
    "return": 0,
    "sys.exit": 7,
    "raise": 1,
    "os._exit": 9,
    "SIGTERM": -signal.SIGTERM,
    "SIGKILL": -signal.SIGKILL,
    "SIGINT": None,  # -2, or 1 when an import was under way: CPython forgets the interrupt when that evaluates text
    "cancelled step": None,
}


@pytest.fixture(params=["none", "ok", "503", "hang", "refuse"])
def backend(request, sink):
    """(name, url): a backend that works, refuses, hangs or is not there; or none."""
    if request.param == "none":
        return "none", ""
    if request.param == "refuse":
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            return "refuse", f"http://127.0.0.1:{closed.getsockname()[1]}"
    sink.mode = request.param
    return request.param, sink.url


def wait_for_file(path, process):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None or path.exists(), process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def run_to_its_end(end, url, journal_dir, tmp_path, environment):
    """Run the script to `end`; return its exit code, what it wrote to stderr, and the seconds after its last event."""
    script = tmp_path / "agent.py"
    script.write_text(SCRIPT)
    marker = tmp_path / "marker"
    command = [sys.executable, str(script), end, url, str(journal_dir), str(marker)]
    cancelled = end == "cancelled step"
    if cancelled:
        step = tmp_path / "step.sh"
        step.write_text(" ".join(f"'{word}'" for word in command) + "\n")
        command = ["bash", "-e", str(step)]
    process = subprocess.Popen(
        command, env=child_environment(**environment), stderr=subprocess.PIPE, start_new_session=True, cwd=str(tmp_path)
    )
    try:
        wait_for_file(marker, process)
        if cancelled:  # SIGINT, 7.5 s, SIGTERM, 2.5 s, and the tree is killed; shorter here
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            os.killpg(process.pid, signal.SIGKILL)
        elif end.startswith("SIG"):
            process.send_signal(getattr(signal, end))
        _, errors = process.communicate(timeout=30)
        seconds = time.monotonic() - float(marker.read_text())
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, errors.decode(), seconds


def drain(url, journal_dir):
    return subprocess.run(
        [sys.executable, "-m", "aimgentix", "journal", "drain", "--dir", str(journal_dir), "--api-url", url],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.threat("T34")
@pytest.mark.parametrize("end", ENDS)
def test_no_end_loses_an_event(end, backend, sink, journal_dir, tmp_path):
    name, url = backend
    code, errors, seconds = run_to_its_end(end, url, journal_dir, tmp_path, {} if name == "hang" else PATIENT)

    if ENDS[end] is not None:
        assert code == ENDS[end]
    expected = [f"r{number}" for number in range(COUNT)]
    assert [each.resource for each in read_events(journal_dir)] == expected
    assert verify_directory(journal_dir).problems == []
    assert len([line for line in errors.splitlines() if "aimgentix:" in line]) <= 1
    if end in ("return", "sys.exit", "raise"):
        if name == "ok":
            assert len(sink.events) == COUNT
        elif name != "none":
            assert seconds < EXIT_SECONDS
            assert ("events stay in" if name == "hang" else "can't deliver") in errors

    sink.mode = "ok"
    sink.released.set()
    done = drain(sink.url, journal_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(sink.events[key]["resource"] for key in sink.events) == sorted(expected)
    assert {json.loads(line)["seq"] for line in sink.lines} == set(range(1, COUNT + 1))
    assert "waiting 0" in done.stdout


@pytest.mark.threat("T34")
@pytest.mark.parametrize("moment", range(8))
def test_killed_at_any_moment_under_load(moment, sink, journal_dir, run_python, tmp_path):
    """What `capture()` returned for is in the journal, and everything in the journal arrives: none lost, none twice."""
    script = """
import os, sys
import aimgentix
client = aimgentix.AuditClient(sys.argv[1], journal_dir=sys.argv[2], flush_interval=0.01, segment_bytes=50_000)
number = 0
while True:
    client.record("tool_call", f"r{number}")
    os.write(1, b"%d\\n" % number)
    number += 1
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, sink.url, str(journal_dir)], env=child_environment(), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        first = process.stdout.readline()
        time.sleep(0.05 + 0.07 * moment)
        process.kill()
        captured = [int(line) for line in (first + process.stdout.read()).split(b"\n")[:-1]]
    kept = [each.resource for each in read_events(journal_dir)]
    assert kept[: len(captured)] == [f"r{number}" for number in captured]
    assert len(kept) <= len(captured) + 1
    # The kernel may end a write that crosses a page half-way: that one line only, which `capture()` never returned for.
    segments = [path.read_bytes() for path in journal_dir.rglob("*.jsonl")]
    torn = [("truncated line", data.count(b"\n") + 1) for data in segments if data and not data.endswith(b"\n")]
    assert [(each.kind, each.seq) for each in verify_directory(journal_dir).problems] == torn
    assert len(torn) <= 1
    assert not torn or len(kept) == len(captured)
    assert drain(sink.url, journal_dir).returncode == 0
    assert sorted(each["resource"] for each in sink.events.values()) == sorted(kept)
    assert len(set(sink.lines)) == len(kept)


def test_exit_with_a_slow_backend_and_much_to_send_keeps_to_the_budget(sink, journal_dir, run_python):
    def slow(request):
        time.sleep(0.1)

    sink.answer = slow
    done = run_python(
        """
import sys, time, aimgentix
client = aimgentix.AuditClient(sys.argv[1], journal_dir=sys.argv[2], exit_timeout=0.5, flush_interval=60)
for number in range(20_000):
    client.record("tool_call", f"r{number}")
started = time.monotonic()
assert client.close() is False
assert time.monotonic() - started < 4, time.monotonic() - started
print(client.counters.captured, client.counters.delivered > 0)
""",
        sink.url,
        str(journal_dir),
    )
    assert (done.returncode, done.stdout) == (0, "20000 True\n"), done.stderr
    sink.answer = None
    assert drain(sink.url, journal_dir).returncode == 0
    assert len(sink.events) == 20_000


def test_no_budget_means_no_waiting(sink, journal_dir, run_python):
    sink.mode = "hang"
    done = run_python(
        """
import sys, time, aimgentix
client = aimgentix.AuditClient(sys.argv[1], journal_dir=sys.argv[2], exit_timeout=0)
client.record("tool_call", "r")
started = time.monotonic()
client.close()
assert time.monotonic() - started < 3
""",
        sink.url,
        str(journal_dir),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(read_events(journal_dir)) == 1
