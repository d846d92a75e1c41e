"""What many short processes have left goes to the backend in few requests, and each segment is noted for itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aimgentix import AuditClient
from aimgentix.delivery import TOGETHER
from aimgentix.notes import unsent
from aimgentix.segments import segment_paths
from support.sdk.helpers import child_environment

COUNT = 210


@pytest.fixture
def left(journal_dir, monkeypatch):
    """The segments of processes that recorded one event each; these are r000, r001 and so on."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    for number in range(COUNT):
        with AuditClient(journal_dir=journal_dir) as client:
            client.record("tool_call", f"r{number:03d}")
    return journal_dir


def start_drain(sink, journal_dir, *more):
    command = [sys.executable, "-m", "aimgentix", "journal", "drain", "--dir", str(journal_dir), "--api-url", sink.url]
    command.extend(more)
    return subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def drain(sink, journal_dir, *more):
    with start_drain(sink, journal_dir, *more) as process:
        out, _ = process.communicate(timeout=60)
    return process.returncode, out.rpartition(": ")[2].strip()


def resource(line):
    return json.loads(line)["event"]["resource"]


def test_they_arrive_once_and_in_few_requests_with_a_long_one_and_a_torn_line_among_them(sink, left):
    paths = segment_paths(str(left))
    with Path(paths[7]).open("ab") as file:
        file.write(b'{"v":1,"stream":')
    with AuditClient(journal_dir=left) as client:
        for number in range(700):
            client.record("tool_call", f"long-{number}")
    with AuditClient(journal_dir=left) as living:
        living.record("tool_call", "still at work")
        done = drain(sink, left, "--timeout", "4")
    assert done == (3, f"delivered {COUNT + 700}, rejected 0, waiting 1")
    assert len(sink.requests) < 12
    assert drain(sink, left) == (0, "delivered 1, rejected 0, waiting 0")
    expected = [f"r{n:03d}" for n in range(COUNT)] + [f"long-{n}" for n in range(700)] + ["still at work"]
    assert sorted(map(resource, sink.lines)) == sorted(expected)


@pytest.mark.parametrize("status", [400, 500])
def test_only_the_bad_line_is_set_aside_or_passed_over(sink, left, status):
    bad = {"r007", "r120"}
    sink.answer = lambda request: (status, {}, {"title": "No"}) if bad & set(map(resource, request.lines)) else None
    with start_drain(sink, left) as process:
        if status == 500:  # it would try these again
            wait_for(lambda: len(list(left.glob("*.offset"))) == COUNT - 2)
            process.kill()
        assert process.wait(timeout=30) == (4 if status == 400 else -9)
    assert set(map(resource, sink.lines)).isdisjoint(bad)
    kept = [path for path in (left / "rejected").glob("*.jsonl") if "reasons" not in path.name]
    assert {resource(path.read_bytes()) for path in kept} == (bad if status == 400 else set())
    waiting = sum(map(unsent, segment_paths(str(left))))
    assert waiting == (0 if status == 400 else 2)
    sink.answer = None
    assert drain(sink, left) == (
        (4, "delivered 0, rejected 0, waiting 0") if status == 400 else (0, "delivered 2, rejected 0, waiting 0")
    )
    assert len(sink.lines) == len(set(sink.lines)) == (COUNT - 2 if status == 400 else COUNT)


def wait_for(condition, seconds=30.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.parametrize("moment", ["stored, not answered", "answered, half noted"])
def test_a_kill_in_between_loses_nothing_and_sends_again_only_what_was_under_way(sink, left, moment):
    with start_drain(sink, left) as process:

        def answer(request):
            if len(sink.requests) == 2 and moment == "stored, not answered":
                sink.lines.extend(request.lines)
                process.kill()
            return None

        sink.answer = answer
        if moment == "answered, half noted":
            wait_for(lambda: len(list(left.glob("*.offset"))) > TOGETHER // 4)
            process.kill()
        process.wait(timeout=30)
    under_way = {line for request in sink.requests[-1:] for line in request.lines}
    noted = {path.with_suffix(".jsonl").read_bytes().strip() for path in left.glob("*.offset")}
    before = set(sink.lines)
    assert noted <= before
    sink.answer = None
    first = len(sink.requests)
    code, said = drain(sink, left)
    assert (code, said) == (0, f"delivered {COUNT - len(noted)}, rejected 0, waiting 0")
    again = [line for request in sink.requests[first:] for line in request.lines]
    assert len(again) == len(set(again))
    assert set(again) & before <= under_way - noted
    assert sorted(event["resource"] for event in sink.events.values()) == [f"r{n:03d}" for n in range(COUNT)]
