"""Delivery to a real HTTP server that answers, refuses, hangs and comes back."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimgentix import AuditClient
from aimgentix.delivery import BACKOFF_MAX, backoff, read_offset
from aimgentix.journal import read_events, verify_directory
from aimgentix.transport import MAX_RETRY_AFTER, Transport, judge
from support.sdk.helpers import event


@pytest.fixture
def new_client(journal_dir):
    clients = []

    def make(url, **arguments):
        arguments = {"journal_dir": journal_dir, "flush_interval": 0.02, **arguments}
        client = AuditClient(url, agent_instance_id="agent-1", trace_id="run-1", **arguments)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close(0.05)


def fill(client, count, start=0):
    for number in range(start, start + count):
        client.record("tool_call", f"r{number}")


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def resources(sink):
    return sorted((each["resource"] for each in sink.events.values()), key=lambda name: int(name[1:]))


def names(count, start=0):
    return [f"r{number}" for number in range(start, start + count)]


def offset_of(journal_dir):
    return [read_offset(str(path)) for path in sorted(Path(journal_dir).glob("*.jsonl"))]


def test_events_arrive_by_themselves_as_the_lines_that_are_in_the_journal(new_client, sink, journal_dir):
    client = new_client(sink.url + "/", api_key="the-api-key")
    fill(client, 3)
    wait_for(lambda: client.counters.delivered == 3)
    path = next(journal_dir.glob("*.jsonl"))
    assert sink.lines == path.read_bytes().splitlines()
    request = sink.requests[0]
    assert request.path == "/v1/events/batch"
    assert request.headers["authorization"] == "Bearer the-api-key"
    assert request.headers["content-type"] == "application/x-ndjson"
    assert "content-encoding" not in request.headers
    assert offset_of(journal_dir) == [path.stat().st_size]


def test_batches_are_bounded_and_compressed_when_large(new_client, sink):
    client = new_client(sink.url, flush_interval=60, batch_events=50)
    fill(client, 175)
    assert client.flush(10)
    assert all(len(request.lines) <= 50 for request in sink.requests)
    assert resources(sink) == names(175)
    assert {request.headers.get("content-encoding") for request in sink.requests} == {"gzip"}
    assert str(client.counters) == "captured 175, delivered 175, spooled 0, rejected 0"


def test_many_events_are_sent_before_the_interval_is_over(new_client, sink):
    client = new_client(sink.url, flush_interval=60, batch_events=10)
    fill(client, 1)
    wait_for(lambda: client._sender._thread is not None)
    fill(client, 40, start=1)
    wait_for(lambda: len(sink.events) >= 10, 5)


def test_large_events_make_small_batches(new_client, sink):
    client = new_client(sink.url, flush_interval=60)
    for number in range(60):
        client.record("tool_call", f"r{number}", metadata={str(n): "x" * 8000 for n in range(5)})
    assert client.flush(20)
    assert max(sum(map(len, request.lines)) for request in sink.requests) < 1024 * 1024 + 65536
    assert len(sink.requests) > 1
    assert resources(sink) == names(60)


def test_close_delivers_what_is_left(new_client, sink):
    client = new_client(sink.url, flush_interval=60)
    fill(client, 20)
    assert client.close(10) is True
    assert resources(sink) == names(20)


@pytest.mark.parametrize("mode", ["503", "500", "429", "408", "425"])
def test_the_backend_is_tried_again_until_it_works(new_client, sink, mode, caplog):
    sink.mode = mode
    client = new_client(sink.url)
    fill(client, 5)
    wait_for(lambda: caplog.messages)
    assert client.counters.delivered == 0
    sink.mode = "ok"
    assert client.flush(30)
    assert resources(sink) == names(5)
    assert len(sink.lines) == 5
    wait_for(lambda: client.counters.delivered == 5)
    errors = caplog.messages
    assert len(errors) == 1
    assert errors[0].startswith(f"aimgentix: can't deliver to {sink.url} ({mode} as the test wants)")


def test_retry_after_is_waited_for(new_client, sink):
    sink.mode = "503"
    sink.headers = {"Retry-After": "1"}
    client = new_client(sink.url)
    fill(client, 5)
    wait_for(lambda: len(sink.requests) == 1)
    assert client.flush(0.3) is False
    assert len(sink.requests) == 1
    sink.mode = "ok"
    assert client.flush(10)
    assert sink.requests[1].at - sink.requests[0].at >= 0.99


@pytest.mark.parametrize(
    "header, least, most",
    [
        ("0", 0, 0),
        ("7", 7, 7),
        ("-5", 0, 0),
        ("999999999", MAX_RETRY_AFTER, MAX_RETRY_AFTER),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER, MAX_RETRY_AFTER),
    ],
)
def test_retry_after_in_both_forms_and_clamped(header, least, most):
    seconds = judge(503, header, b"").retry_after
    assert seconds is not None
    assert least <= seconds <= most


def test_retry_after_as_a_date_in_the_near_future():
    outcome = judge(503, formatdate(time.time() + 100, usegmt=True), b"")
    assert 80 <= (outcome.retry_after or 0) <= 101


@pytest.mark.parametrize("header", ["soon", "", "1.5.2", "٣x", None])
def test_retry_after_that_says_nothing(header):
    assert judge(503, header, b"").retry_after is None


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_backoff_has_full_jitter_and_a_bound(failures, chance):
    assert 0 <= backoff(failures, lambda: chance) <= BACKOFF_MAX
    assert backoff(failures, lambda: 1.0) == min(BACKOFF_MAX, 0.5 * 2 ** min(failures - 1, 20))


@given(st.integers(100, 599), st.binary(max_size=300))
def test_any_answer_is_judged_in_one_printable_line(status, answer):
    outcome = judge(status, None, answer, 7)
    assert outcome.detail.isprintable()
    assert outcome.kind != "delivered"


@pytest.mark.parametrize(
    "answer, kind",
    [
        (b'{"received": 7, "stored": 3, "duplicates": 4}', "delivered"),
        (b'{"received": 6}', "misconfigured"),
        (b'{"received": true}', "misconfigured"),
        (b'{"received": "7"}', "misconfigured"),
        (b'[{"received": 7}]', "misconfigured"),
        (b"{}", "misconfigured"),
        (b"", "misconfigured"),
        (b"<!doctype html><title>Sign in</title>", "misconfigured"),
    ],
)
def test_only_an_answer_that_counts_the_lines_means_delivered(answer, kind):
    assert judge(200, None, answer, 7).kind == kind


@pytest.mark.parametrize("mode", ["401", "403", "404", "405", "301"])
def test_a_wrong_key_or_address_keeps_everything_and_is_said_once(new_client, sink, journal_dir, mode, caplog):
    sink.mode = mode
    sink.headers = {"Location": "/elsewhere"}
    client = new_client(sink.url, api_key="the-api-key")
    fill(client, 5)
    for _ in range(3):
        assert client.flush(5) is False
    assert client.close(5) is False
    assert str(client.counters) == "captured 5, delivered 0, spooled 5, rejected 0"
    assert not (journal_dir / "rejected").exists()
    assert offset_of(journal_dir) == [0]
    errors = caplog.messages
    assert len(errors) == 1
    assert mode in errors[0]
    assert str(journal_dir) in errors[0]
    assert {request.path for request in sink.requests} == {"/v1/events/batch"}


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_refused_events_are_set_aside_and_the_others_delivered(new_client, sink, journal_dir, status, caplog):
    def answer(request):
        bad = [line for line in request.lines if b'"r13"' in line or b'"r77"' in line]
        return (status, {}, {"title": "Bad", "detail": "r13 or\nr77"}) if bad else None

    sink.answer = answer
    client = new_client(sink.url, flush_interval=60)
    fill(client, 100)
    assert client.flush(20) is True
    assert resources(sink) == [name for name in names(100) if name not in ("r13", "r77")]
    assert str(client.counters) == "captured 100, delivered 98, spooled 0, rejected 2"
    path = next(journal_dir.glob("*.jsonl"))
    kept = (journal_dir / "rejected" / path.name).read_bytes().splitlines()
    assert kept == [line for line in path.read_bytes().splitlines() if b'"r13"' in line or b'"r77"' in line]
    reasons = [json.loads(line) for line in (journal_dir / "rejected" / (path.stem + ".reasons.jsonl")).open()]
    assert {(reason["status"], reason["said"]) for reason in reasons} == {(status, f"{status} Bad: r13 or r77")}
    assert [seq for reason in reasons for seq in reason["seq"]] == [14, 78]
    assert verify_directory(journal_dir).ok
    errors = caplog.messages
    assert len(errors) == 1
    assert "rejected" in errors[0]


def test_a_backend_that_refuses_everything_and_names_nothing_costs_about_a_request_a_line(
    new_client, sink, journal_dir
):
    sink.mode = "400"
    client = new_client(sink.url, flush_interval=60)
    fill(client, 400)
    assert client.flush(60)
    assert len(sink.requests) <= 410
    assert client.counters.rejected == 400
    assert len(next((journal_dir / "rejected").glob("*Z-*[0-9a-f].jsonl")).read_bytes().splitlines()) == 400


def test_nothing_is_passed_over_when_the_refused_can_not_be_set_aside(new_client, sink, journal_dir):
    sink.mode = "400"
    client = new_client(sink.url, flush_interval=60)
    fill(client, 3)
    (journal_dir / "rejected").write_text("in the way")
    assert client.flush(0.3) is False
    assert (client.counters.rejected, offset_of(journal_dir)) == (0, [0])
    (journal_dir / "rejected").unlink()
    assert client.flush(20)
    assert client.counters.rejected == 3


def test_a_backend_that_dies_in_the_middle_loses_and_doubles_nothing(new_client, sink, journal_dir):
    def answer(request):
        return (503, {}, {}) if len(sink.requests) % 3 == 2 else None

    sink.answer = answer
    client = new_client(sink.url, flush_interval=60, batch_events=10)
    fill(client, 50)
    assert client.flush(60)
    assert resources(sink) == names(50)
    assert len(sink.lines) == 50


def test_an_answer_that_got_lost_means_the_batch_is_sent_again(new_client, sink, journal_dir):
    """The backend stored the batch, but the connection broke before the answer."""

    def answer(request):
        if len(sink.requests) == 1:
            sink.lines.extend(request.lines)
            raise ConnectionAbortedError
        return None

    sink.answer = answer
    client = new_client(sink.url, flush_interval=60)
    fill(client, 10)
    assert client.flush(10)
    assert len(sink.lines) == 20
    assert resources(sink) == names(10)
    assert client.counters.delivered == 10


@pytest.mark.parametrize("mode", ["hang", "503", "refuse"])
def test_capture_never_waits_for_the_backend(new_client, sink, mode):
    url = sink.url
    if mode == "refuse":
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    else:
        sink.mode = mode
    client = new_client(url)
    longest = 0.0
    for number in range(2000):
        started = time.perf_counter()
        client.record("tool_call", f"r{number}")
        longest = max(longest, time.perf_counter() - started)
    assert longest < 3
    started = time.perf_counter()
    assert client.close(0.5) is False
    assert time.perf_counter() - started < 4
    assert client.counters.spooled == 2000


def test_a_burst_of_20000_events(new_client, sink, journal_dir):
    client = new_client(sink.url, segment_bytes=2_000_000)
    fill(client, 20_000)
    assert client.flush(60)
    assert resources(sink) == names(20_000)
    assert client.counters.delivered == 20_000
    assert verify_directory(journal_dir).ok


def test_what_a_dead_process_left_is_adopted_by_the_next_client(new_client, sink, journal_dir, run_python):
    script = """
import os, sys, aimgentix
client = aimgentix.AuditClient(journal_dir=sys.argv[1])
for number in range(1000, 1030):
    client.record("tool_call", f"r{number}")
os._exit(0)
"""
    assert run_python(script, str(journal_dir)).returncode == 0
    client = new_client(sink.url)
    fill(client, 5)
    assert client.flush(10)
    wait_for(lambda: len(sink.events) == 35)
    assert resources(sink) == names(5) + names(30, 1000)
    assert str(client.counters) == "captured 5, delivered 5, spooled 0, rejected 0"


def test_a_living_process_is_not_interfered_with(new_client, sink, journal_dir):
    other = AuditClient(journal_dir=journal_dir)
    fill(other, 5)
    client = new_client(sink.url)
    fill(client, 5, start=100)
    assert client.flush(10)
    assert resources(sink) == names(5, 100)
    other.close()


def test_two_clients_share_a_folder_without_sending_twice(new_client, sink, journal_dir):
    clients = [new_client(sink.url, segment_bytes=3000) for _ in range(4)]
    threads = [threading.Thread(target=fill, args=(client, 200, 200 * n)) for n, client in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        assert client.flush(30)
    wait_for(lambda: len(sink.events) == 800)  # a segment may be in the hands of another client when a flush ends
    assert resources(sink) == names(800)
    assert len(sink.lines) == 800


def test_a_flush_includes_the_segments_that_it_closed(new_client, sink):
    client = new_client(sink.url, segment_bytes=1, flush_interval=60)
    for count in (1, 5, 30):
        start = client.counters.captured
        fill(client, count, start=start)
        assert client.flush(10)
        assert resources(sink) == names(start + count)
        assert client.counters.spooled == 0


def test_a_lost_or_senseless_offset_sends_again_and_nothing_is_lost(new_client, sink, journal_dir):
    client = new_client(sink.url)
    fill(client, 5)
    assert client.close(10)
    offset = next(journal_dir.glob("*.offset"))
    for text in ("", "nonsense", "-5", "3", "999999999999", "9" * 30):
        offset.write_text(text)
        sink.lines.clear()
        again = new_client(sink.url)
        fill(again, 1, start=100)
        assert again.close(10)
        assert len(sink.lines) == 6, text


def test_a_torn_last_line_of_a_dead_process_is_not_sent(new_client, sink, journal_dir):
    client = new_client(sink.url)
    fill(client, 2)
    assert client.close(10)
    dead = journal_dir / "20000101T000000Z-1-00000000deadbeef.jsonl"
    line = sink.lines[0].replace(b'"r0"', b'"r50"')
    dead.write_bytes(line + b"\n" + line[:50])
    again = new_client(sink.url)
    fill(again, 1, start=100)
    assert again.close(10)
    assert b'"r50"' in sink.lines[-1] + sink.lines[-2]
    assert len(sink.lines) == 4


def test_a_line_that_is_being_written_during_delivery_is_sent_whole(new_client, sink, journal_dir):
    client = new_client(sink.url)
    fill(client, 2)
    assert client.close(10)
    dead = journal_dir / "20000101T000000Z-1-00000000deadbeef.jsonl"
    lines = [sink.lines[0].replace(b'"r0"', b'"r%d"' % number) for number in (50, 51)]
    dead.write_bytes(lines[0] + b"\n" + lines[1][:70])

    def write_the_rest(request):
        if lines[0] in request.lines:
            with dead.open("ab") as file:
                file.write(lines[1][70:] + b"\n")

    sink.answer = write_the_rest
    again = new_client(sink.url)
    fill(again, 1, start=100)
    assert again.close(10)
    assert set(lines) <= set(sink.lines)
    assert len(sink.lines) == 5


def test_events_held_in_memory_are_delivered_from_there(new_client, sink, tmp_path):
    (tmp_path / "file").write_text("")
    client = new_client(sink.url, journal_dir=tmp_path / "file" / "journal")
    fill(client, 25)
    assert client.flush(10)
    assert resources(sink) == names(25)
    assert str(client.counters) == "captured 25, delivered 25, spooled 0, rejected 0"


def test_events_held_in_memory_wait_for_the_backend_in_order(new_client, sink, tmp_path):
    (tmp_path / "file").write_text("")
    sink.mode = "503"
    client = new_client(sink.url, journal_dir=tmp_path / "file" / "journal", batch_events=10)
    fill(client, 25)
    wait_for(lambda: len(sink.requests) >= 2)
    sink.mode = "ok"
    assert client.flush(10)
    assert [json.loads(line.decode())["resource"] for line in sink.lines] == names(25)


def test_refused_events_in_memory_stay_there_and_are_said_at_the_end(new_client, sink, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    sink.answer = lambda request: (400, {}, {}) if any(b'"r3"' in line for line in request.lines) else None
    client = new_client(sink.url, journal_dir=tmp_path / "file" / "journal", flush_interval=60)
    fill(client, 10)
    assert client.close(5) is False
    assert resources(sink) == [name for name in names(10) if name != "r3"]
    assert str(client.counters) == "captured 10, delivered 9, spooled 1, rejected 0"
    assert caplog.messages[-1] == "aimgentix: events that could neither be stored nor delivered: 1"


def test_events_being_delivered_from_memory_count_as_held_until_they_are(new_client, sink, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    sink.mode = "hang"
    client = new_client(sink.url, journal_dir=tmp_path / "file" / "journal")
    fill(client, 10)
    wait_for(lambda: len(sink.requests) == 1)
    assert client.close(0.2) is False
    assert caplog.messages[-1] == "aimgentix: events that could neither be stored nor delivered: 10"


def test_a_disk_that_gets_full_stops_no_delivery(new_client, sink, journal_dir, monkeypatch):
    """The folder takes no note of what was delivered: every event arrives all the same, once from this process."""
    client = new_client(sink.url, flush_interval=60)
    fill(client, 5)
    for path in journal_dir.glob("*.jsonl"):
        (journal_dir / f"{path.stem}.offset").mkdir()
    assert client.flush(10)
    fill(client, 5, start=5)
    assert client.flush(10)
    assert resources(sink) == names(10)
    assert len(sink.lines) == 10


def test_threads_that_begin_together_start_one_sender(new_client, sink):
    client = new_client(sink.url, flush_interval=60)
    barrier = threading.Barrier(8)

    def begin():
        barrier.wait()
        client.record("tool_call", "r1")

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [thread.name for thread in threading.enumerate()].count("aimgentix-sender") == 1
    assert client.flush(10)
    assert len(sink.lines) == 8


def test_a_forked_child_delivers_its_own_events_over_its_own_connection(new_client, sink, journal_dir):
    client = new_client(sink.url)
    fill(client, 3)
    assert client.flush(10)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            fill(client, 3, start=100)
            done = client.flush(10)
            status = 0 if done and str(client.counters) == "captured 3, delivered 3, spooled 0, rejected 0" else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    fill(client, 3, start=3)
    assert client.flush(10)
    assert resources(sink) == names(6) + names(3, 100)
    assert len(sink.lines) == 9


def test_no_secret_travels_and_the_key_is_not_in_the_journal(new_client, sink, journal_dir):
    client = new_client(sink.url, api_key="key-with-12345678")
    client.record("tool_call", "r1", metadata={"password": "hunter2", "said": "it is key-with-12345678"})
    assert client.flush(10)
    written = b"".join(path.read_bytes() for path in journal_dir.iterdir() if path.is_file())
    for data in (written, b"".join(sink.lines)):
        assert b"hunter2" not in data
        assert b"key-with-12345678" not in data


def test_the_netrc_of_the_machine_does_not_replace_the_key(new_client, sink, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for key, expected in (("the-api-key", "Bearer the-api-key"), (None, None)):
        client = new_client(sink.url, api_key=key)
        fill(client, 1)
        assert client.flush(10)
        assert sink.requests[-1].headers.get("authorization") == expected


def test_without_urllib3_events_stay_and_one_line_says_so(journal_dir, sink, run_python):
    done = run_python(
        """
import sys
sys.modules["urllib3"] = None
import aimgentix
client = aimgentix.AuditClient(sys.argv[1], journal_dir=sys.argv[2])
for number in range(5):
    client.capture(aimgentix.AuditEvent("a", "t", "agent", "tool_call", f"r{number}", "success"))
""",
        sink.url,
        str(journal_dir),
    )
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert "`urllib3` is not installed" in done.stderr
    assert len(read_events(journal_dir)) == 5


def test_an_unusable_proxy_is_said_and_never_passed_by(sink, monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")
    outcome = Transport(sink.url, "key", 5).post([b"{}"])
    assert (outcome.kind, sink.requests) == ("misconfigured", [])
    assert "proxy" in outcome.detail


def test_capture_during_the_last_moments_is_spooled(sink, journal_dir, run_python):
    """A client whose first event comes from an atexit handler can't start its thread any more (Python 3.12)."""
    done = run_python(
        """
import atexit, sys, aimgentix
def late():
    client.record("tool_call", "r1")
client = aimgentix.AuditClient(sys.argv[1], journal_dir=sys.argv[2])
atexit.register(late)
""",
        sink.url,
        str(journal_dir),
    )
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) <= 1
    assert [each.resource for each in read_events(journal_dir)] == ["r1"]


def test_strict_and_a_backend_together(new_client, sink, tmp_path, journal_dir):
    client = new_client(sink.url, strict=True)
    client.capture(event(resource="r1"), durable=True)
    assert client.flush(10)
    assert resources(sink) == ["r1"]
