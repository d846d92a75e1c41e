"""Faults found in the field: forks, signals, broken folders and answers, and the ends of processes."""

from __future__ import annotations

import errno
import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import time

import pytest

from aimgentix import AuditClient, InvalidEvent
from aimgentix.journal import Journal
from aimgentix.settings import SettingError
from aimgentix.verify import read_events, verify_directory
from support.sdk.helpers import child_environment, event


def resources(directory):
    return [each.resource for each in read_events(directory)]


def delivered(sink):
    return sorted(each["resource"] for each in sink.events.values())


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "aimgentix", "journal", *map(str, arguments)],
        env=child_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- forks ---

QUIET = {"PYTHONWARNINGS": "ignore"}  # Python 3.12 warns of every fork of a process with threads
FORK = """
import os, sys, threading
from aimgentix import AuditClient
client = AuditClient(sys.argv[1], journal_dir=sys.argv[2], exit_timeout=20)
client.record("tool_call", "parent")
children = []
for number in range(int(sys.argv[3])):
    child = os.fork()
    if child == 0:
        import faulthandler, urllib3, ssl, hashlib, logging, gzip, email.utils
        faulthandler.dump_traceback_later(40, exit=True)
        assert urllib3.PoolManager and urllib3.util and gzip.compress and logging.getLogger
        client.record("tool_call", f"child {number}")
        os._exit(0 if client.flush(30) else 5)
    children.append(child)
codes = [os.waitpid(child, 0)[1] for child in children]
assert client.close(30)
print(codes)
"""


def test_a_fork_right_after_the_first_event_leaves_a_child_that_works_and_delivers(sink, journal_dir, run_python):
    done = run_python(FORK, sink.url, str(journal_dir), "5", **QUIET)
    assert (done.stdout, done.stderr) == ("[0, 0, 0, 0, 0]\n", "")
    assert delivered(sink) == [f"child {number}" for number in range(5)] + ["parent"]


def test_a_multiprocessing_pool_right_after_the_first_event(sink, journal_dir, run_python):
    done = run_python(
        """
import multiprocessing, sys
from aimgentix import AuditClient
client = AuditClient(sys.argv[1], journal_dir=sys.argv[2])
def work(number):
    import urllib3
    client.record("tool_call", f"child {number}")
    return client.flush(30) and hasattr(urllib3, "PoolManager")
client.record("tool_call", "parent")
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(work, range(4)).get(40))
assert client.close(30)
""",
        sink.url,
        str(journal_dir),
        **QUIET,
    )
    assert (done.stdout, done.stderr) == ("[True, True, True, True]\n", "")
    assert len(sink.events) == 5


def test_no_thread_of_a_client_imports_anything(sink, journal_dir, run_python):
    """Whatever answers come, all modules that delivering needs are there when the constructor returns."""
    answers = [
        (503, {"Retry-After": "Sat, 01 Jan 2000 00:00:00 GMT"}, {}),
        (400, {}, {"title": "No", "errors": [{"index": 0, "detail": "bad"}]}),
        (200, {}, {}),
    ]
    sink.answer = lambda request: answers[len(sink.requests) - 1] if len(sink.requests) <= len(answers) else None
    done = run_python(
        """
import sys, aimgentix
client = aimgentix.AuditClient(sys.argv[1].replace("127.0.0.1", "localhost"), "key", journal_dir=sys.argv[2],
                               exit_timeout=5)
there = set(sys.modules)
for number in range(100):
    client.record("tool_call", f"r{number}", metadata={"output": "x" * 100})
for _ in range(4):
    client.flush(5)
print(sorted(set(sys.modules) - there))
""",
        sink.url,
        str(journal_dir),
    )
    assert done.stdout == "[]\n"
    assert len(sink.requests) >= 4


# --- signals ---

SIGNALS = """
import os, signal, sys, threading, time
import faulthandler; faulthandler.dump_traceback_later(50, exit=True)
from aimgentix import AuditClient
client = AuditClient(journal_dir=sys.argv[1], segment_bytes=4000)
wanted, what = int(sys.argv[2]), sys.argv[3]
hits = [0]
def handler(number, frame):
    client.record("tool_call", f"handler {hits[0]}", durable=True)
    if what == "close":
        client.close()
    hits[0] += 1
signals = (signal.SIGALRM, signal.SIGUSR1)
for each in signals:
    signal.signal(each, handler)
armed, count = -1, 0
while hits[0] < wanted:
    if armed < hits[0]:
        armed = hits[0]
        signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.000007 * (armed % 50))
    client.record("tool_call", f"main {count}", durable=count % 3 == 0)
    count += 1
signal.setitimer(signal.ITIMER_REAL, 0)
assert client.flush()
client.close()
print(count, hits[0])
"""


@pytest.mark.parametrize("what", ["record", "close"])
def test_a_signal_handler_may_record_durably_and_close_at_any_moment(journal_dir, run_python, what):
    done = run_python(SIGNALS, str(journal_dir), "150", what)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    count, hits = map(int, done.stdout.split())
    assert verify_directory(journal_dir).problems == []
    expected = {f"main {number}" for number in range(count)} | {f"handler {number}" for number in range(hits)}
    found = resources(journal_dir)
    assert len(found) == len(expected) and set(found) == expected


def test_two_handlers_that_cut_into_each_other_leave_a_straight_chain(tmp_path):
    """Whoever cuts into the making of a new segment continues from that one."""
    journal = Journal(tmp_path)
    journal.append(event(resource="first").encode())
    depth: list[str] = []

    def trace(frame, kind, argument):
        inside = frame.f_code.co_name in ("_next_segment", "create", "append") and "journal" in frame.f_code.co_filename
        if inside and kind == "line" and len(depth) < 3 and frame.f_lineno not in seen:
            seen.add(frame.f_lineno)
            depth.append("in")
            journal.append(event(resource=f"cut {len(seen)}").encode())
            depth.pop()
        return trace

    seen: set[int] = set()
    sys.settrace(trace)
    try:
        for number in range(20):
            journal.append(event(resource=f"main {number}").encode())
    finally:
        sys.settrace(None)
    journal.close()
    assert len(seen) > 20
    assert verify_directory(tmp_path).problems == []
    found = resources(tmp_path)
    assert len(found) == len(set(found)) == 21 + len(seen)


@pytest.mark.parametrize("appends", [False, True])
def test_a_handler_that_closes_between_any_two_instructions_leaves_nothing_in_memory(appends, tmp_path):
    said: list[str] = []
    journal = Journal(tmp_path, complain=said.append)
    seen: set[tuple[str, int, int]] = set()
    inside = [False]

    def trace(frame, kind, argument):
        if frame.f_code.co_filename != Journal.sync.__code__.co_filename:
            return None
        frame.f_trace_opcodes = True
        place = (frame.f_code.co_name, frame.f_lasti, journal._appending)
        if kind == "opcode" and not inside[0] and place not in seen:
            seen.add(place)
            inside[0] = True
            if appends:
                journal.append(event(resource=f"handler {len(seen)}").encode(), durable=True)
            journal.close()
            inside[0] = False
        return trace

    sys.settrace(trace)
    try:
        for number in range(400):
            journal.append(event(resource=f"main {number}").encode(), durable=True)
    finally:
        sys.settrace(None)
    journal.close()
    assert len(seen) > 200
    assert (said, journal.held) == ([], 0)
    assert verify_directory(tmp_path).problems == []
    handled = [f"handler {number}" for number in range(1, len(seen) + 1)] if appends else []
    assert sorted(resources(tmp_path)) == sorted([*(f"main {number}" for number in range(400)), *handled])


def test_the_first_capture_may_come_from_a_handler_that_cut_into_an_import(journal_dir, run_python):
    """A handler finds modules half imported: capturing imports none."""
    done = run_python(
        """
import os, sys, aimgentix
client = aimgentix.AuditClient(journal_dir=sys.argv[1])
class Half:
    def __getattr__(self, name):
        raise ImportError("half imported")
for name in ("hashlib", "logging", "json", "time", "os", "threading", "re"):
    sys.modules[name] = Half()
client.record("tool_call", "from the handler", metadata={"password": "x", "n": [1, "--token", "y"]}, durable=True)
assert client.flush()
client._journal.close()
os._exit(0)
""",
        str(journal_dir),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert resources(journal_dir) == ["from the handler"]


# --- what the backend refuses ---


def fill(client, count):
    for number in range(count):
        client.record("tool_call", f"r{number:03d}")


def bad(number):
    return number % 10 == 3


def is_bad(line):
    return bad(int(json.loads(line).get("event", json.loads(line))["resource"][1:]))


def naming(status, limit=100):
    """A backend that stores nothing of a batch with bad lines, and names those."""

    def answer(request):
        errors = [
            {"index": at, "field": "resource", "detail": "is bad"}
            for at, line in enumerate(request.lines)
            if is_bad(line)
        ]
        return (status, {}, {"title": "No", "errors": errors[:limit]}) if errors else None

    return answer


def silent(request):
    """A backend that names nothing."""
    return (422, {}, {"title": "No"}) if any(map(is_bad, request.lines)) else None


@pytest.mark.parametrize(
    "answer", [naming(400), naming(409), naming(413), naming(400, limit=7), silent], ids=lambda answer: answer.__name__
)
def test_exactly_the_bad_lines_are_set_aside(sink, journal_dir, answer):
    sink.answer = answer
    with AuditClient(sink.url, journal_dir=journal_dir, flush_interval=60, exit_timeout=40) as client:
        fill(client, 500)
        assert client.flush(60)
        assert str(client.counters) == "captured 500, delivered 450, spooled 0, rejected 50"
    assert delivered(sink) == [f"r{number:03d}" for number in range(500) if not bad(number)]
    kept = next(path for path in (journal_dir / "rejected").glob("*.jsonl") if "reasons" not in path.name)
    assert len(kept.read_text().splitlines()) == 50
    assert all(is_bad(line) for line in kept.read_text().splitlines())
    assert answer is silent or len(sink.requests) < 20
    reasons = [json.loads(line) for line in kept.with_suffix(".reasons.jsonl").read_text().splitlines()]
    assert sorted(seq for reason in reasons for seq in reason["seq"]) == [n + 1 for n in range(500) if bad(n)]
    assert {reason["said"][4:] for reason in reasons} == {"No" if answer is silent else "resource: is bad"}


def test_a_batch_that_is_too_large_is_split_and_the_next_ones_are_small(sink, journal_dir):
    sink.answer = lambda request: (413, {}, {}) if sum(map(len, request.lines)) > 6000 else None
    with AuditClient(sink.url, journal_dir=journal_dir, flush_interval=60, exit_timeout=40) as client:
        fill(client, 500)
        assert client.flush(60)
        assert client.counters.rejected == 0
    assert len(sink.events) == 500
    assert len(sink.lines) == 500


def test_rejected_events_are_sent_again_on_demand_and_no_drain_forgets_them(sink, journal_dir):
    sink.answer = naming(400)
    with AuditClient(sink.url, journal_dir=journal_dir, flush_interval=60, exit_timeout=40) as client:
        fill(client, 20)
    sink.answer = None
    done = command("drain", "--dir", journal_dir, "--api-url", sink.url)
    assert done.returncode == 4
    assert "2 are in rejected/" in done.stderr
    sink.answer = lambda request: (400, {}, {}) if any(b"r013" in line for line in request.lines) else None
    done = command("drain", "--dir", journal_dir, "--api-url", sink.url, "--rejected")
    assert (done.returncode, done.stdout) == (4, f"{journal_dir}: delivered 1, rejected 1, waiting 0\n")
    sink.answer = None
    done = command("drain", "--dir", journal_dir, "--api-url", sink.url, "--rejected")
    assert (done.returncode, done.stdout) == (0, f"{journal_dir}: delivered 1, rejected 0, waiting 0\n")
    assert len(sink.events) == len(sink.lines) == 20
    assert "delivered 20, waiting 0, rejected 0" in command("status", "--dir", journal_dir).stdout


# --- answers that are none ---


@pytest.mark.parametrize("answer", [{}, {"received": 2}, "Sign in", {"received": "3"}, [3], {"status": "ok"}])
def test_a_page_that_says_200_to_everything_takes_no_event(sink, journal_dir, caplog, answer):
    sink.answer = lambda request: (200, {}, answer)
    client = AuditClient(sink.url, journal_dir=journal_dir, flush_interval=0.01)
    fill(client, 3)
    assert client.flush(5) is False
    assert client.close(5) is False
    assert str(client.counters) == "captured 3, delivered 0, spooled 3, rejected 0"
    assert len(caplog.messages) == 1
    assert "200, but not the answer of an audit backend" in caplog.messages[0]
    assert not list(journal_dir.glob("*.offset"))
    assert command("drain", "--dir", journal_dir, "--api-url", sink.url, "--timeout", "5").returncode == 3


# --- a folder that goes away ---


@pytest.mark.parametrize("backend", [True, False])
def test_a_removed_folder_is_noticed_and_nothing_is_lost(sink, journal_dir, caplog, backend):
    client = AuditClient(sink.url if backend else None, journal_dir=journal_dir, flush_interval=60, segment_bytes=9000)
    fill(client, 30)
    shutil.rmtree(journal_dir)
    for number in range(30, 40):
        client.record("tool_call", f"r{number:03d}")
    assert client.flush(20) is True
    assert len([text for text in caplog.messages if "was removed" in text]) == len(caplog.messages) == 1
    assert client.close(20)
    assert resources(journal_dir) == [f"r{number:03d}" for number in range(40)]
    assert verify_directory(journal_dir).problems == []
    if backend:
        assert len(sink.events) == 40


def test_a_folder_that_was_removed_and_can_not_be_made_again_is_not_called_safe(tmp_path, journal_dir, caplog):
    client = AuditClient(journal_dir=journal_dir)
    fill(client, 3)
    shutil.rmtree(journal_dir)
    journal_dir.write_text("in the way")
    assert client.flush() is False
    client.record("tool_call", "r003")
    assert client.flush() is False
    journal_dir.unlink()
    client._journal._retry_disk_at = 0.0
    client.record("tool_call", "r004")
    assert client.flush() is True
    client.close()
    assert resources(journal_dir) == [f"r{number:03d}" for number in range(5)]
    assert verify_directory(journal_dir).problems == []


def test_a_disk_that_fails_to_sync_is_not_called_safe_unless_the_backend_has_everything(
    sink, tmp_path, monkeypatch, caplog
):
    def broken(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for name, url, safe in (("alone", None, False), ("with a backend", sink.url, True)):
        with monkeypatch.context() as patch:
            client = AuditClient(url, journal_dir=tmp_path / name, flush_interval=60)
            fill(client, 3)
            patch.setattr(os, "fsync", broken)
            assert client.flush(20) is safe
        assert client.flush(20) is safe  # what the first sync lost, a second one does not bring back
        client.close()
        assert verify_directory(tmp_path / name).problems == []


_REFUSE_FSYNC = """
import ctypes, errno, platform, struct, sys, threading
from aimgentix import AuditClient

NUMBER = {"x86_64": 74, "aarch64": 82}[platform.machine()]
# Of a system call's number: if it is fsync's, answer EIO; else go on.  As struct sock_filter, and struct sock_fprog.
FILTER = b"".join(struct.pack("HBBI", *one) for one in (
    (0x20, 0, 0, 0), (0x15, 0, 1, NUMBER), (0x06, 0, 0, 0x50000 | errno.EIO), (0x06, 0, 0, 0x7FFF0000)))

def with_a_failing_disk(work):
    \"\"\"Run `work` in a thread for which the kernel answers fsync with EIO.\"\"\"
    def run():
        lines = ctypes.create_string_buffer(FILTER)
        program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(lines)))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
        work()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

said = []
client = AuditClient(sys.argv[1] or None, journal_dir=sys.argv[2], flush_interval=60)
client.record("tool_call", "before")
said.append(client.flush(20))
client.record("tool_call", "when it failed")
with_a_failing_disk(lambda: said.append(client.flush(20)))
client.record("tool_call", "after")
said.append(client.flush(20))
said.append(client.close())
print(*said)
"""


@pytest.mark.parametrize(("backend", "said"), [(False, "True False False False"), (True, "True True True True")])
def test_one_sync_that_the_kernel_answers_with_eio_is_never_called_durable(
    sink, journal_dir, run_python, backend, said
):
    """The kernel says it once and forgets: a later sync that works brings nothing back, and says nothing of it."""
    if sys.platform != "linux":
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up("only Linux filters system calls")
    done = run_python(_REFUSE_FSYNC, sink.url if backend else "", str(journal_dir))
    assert (done.stdout.strip(), done.returncode) == (said, 0), done.stderr
    assert backend or "can't sync the journal" in done.stderr
    assert resources(journal_dir) == ["before", "when it failed", "after"]
    assert verify_directory(journal_dir).problems == []
    assert not backend or delivered(sink) == ["after", "before", "when it failed"]


# --- one that keeps the others waiting ---


def orphan(journal_dir, name, *lines):
    (journal_dir / f"20000101T000000Z-1-{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


def make_strange(journal_dir):
    journal_dir.mkdir(exist_ok=True)
    (journal_dir / "00000000T000000Z-1-folder.jsonl").mkdir()
    (journal_dir / "00000000T000000Z-1-loop.jsonl").symlink_to("00000000T000000Z-1-loop.jsonl")
    os.mkfifo(journal_dir / "00000000T000000Z-1-pipe.jsonl")


def test_what_is_not_a_file_keeps_no_segment_waiting(sink, journal_dir):
    make_strange(journal_dir)
    with AuditClient(journal_dir=journal_dir) as client:
        fill(client, 30)
    done = command("drain", "--dir", journal_dir, "--api-url", sink.url, "--timeout", "20")
    assert (done.returncode, done.stdout) == (3, f"{journal_dir}: delivered 30, rejected 0, waiting 0\n")
    assert done.stderr.count("is not a file") == 3
    assert len(sink.events) == 30
    assert command("status", "--dir", journal_dir).returncode == 0
    assert len(command("show", "--dir", journal_dir).stdout.splitlines()) == 30
    done = command("verify", "--dir", journal_dir)
    assert (done.returncode, done.stdout.count("is not a file")) == (15, 3)


def test_a_living_client_passes_over_what_is_not_a_file(sink, journal_dir):
    make_strange(journal_dir)
    with AuditClient(journal_dir=journal_dir) as client:
        client.record("tool_call", "orphan")
    client = AuditClient(sink.url, journal_dir=journal_dir, flush_interval=0.02)
    fill(client, 3)
    assert client.flush(20)
    deadline = time.monotonic() + 20
    while len(sink.events) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert delivered(sink) == ["orphan", "r000", "r001", "r002"]
    client.close(5)


def poison(*names):
    return lambda request: (500, {}, {}) if any(name in line for line in request.lines for name in names) else None


def test_an_event_that_is_answered_500_for_ever_keeps_no_other_waiting(sink, journal_dir, caplog):
    sink.answer = poison(b'"r007"', b'"r008"', b'"r200"')
    client = AuditClient(sink.url, journal_dir=journal_dir, flush_interval=60)
    fill(client, 300)
    assert client.flush(5) is False
    assert len(sink.events) == 297
    assert str(client.counters) == "captured 300, delivered 297, spooled 3, rejected 0"
    assert len(caplog.messages) == 1 and "(500)" in caplog.messages[0]
    assert client.close(5) is False
    assert len(sink.lines) == 297
    assert "delivered 297, waiting 3" in command("status", "--dir", journal_dir).stdout
    done = command("drain", "--dir", journal_dir, "--api-url", sink.url, "--timeout", "5")
    assert (done.returncode, done.stdout.endswith("waiting 3\n")) == (3, True)
    assert len(sink.lines) == 297
    sink.answer = None
    done = command("drain", "--dir", journal_dir, "--api-url", sink.url)
    assert (done.returncode, done.stdout) == (0, f"{journal_dir}: delivered 3, rejected 0, waiting 0\n")
    assert len(sink.events) == len(sink.lines) == 300


def test_a_backend_that_is_down_with_500_gets_few_requests(sink, journal_dir):
    sink.mode = "500"
    client = AuditClient(sink.url, journal_dir=journal_dir, flush_interval=60)
    fill(client, 300)
    assert client.flush(0.05) is False
    assert client.close(5) is False
    assert len(sink.requests) <= 2 * 20
    assert not list(journal_dir.glob("*.offset"))
    sink.mode = "ok"
    assert command("drain", "--dir", journal_dir, "--api-url", sink.url).returncode == 0
    assert len(sink.lines) == 300


def test_a_segment_with_a_bad_event_at_its_end_keeps_no_other_waiting(sink, journal_dir):
    for name in ("bad", "r001", "r002"):
        with AuditClient(journal_dir=journal_dir) as client:
            client.record("tool_call", name)
        time.sleep(0.01)
    sink.answer = poison(b'"bad"')
    done = command("drain", "--dir", journal_dir, "--api-url", sink.url, "--timeout", "5")
    assert done.returncode == 3
    assert delivered(sink) == ["r001", "r002"]


# --- timed ---


class Odd(Exception):
    def __str__(self):
        return "failed: " + self.missing  # type: ignore[attr-defined]


def only(directory):
    (found,) = read_events(directory)
    return found


@pytest.fixture
def client(journal_dir):
    with AuditClient(agent_instance_id="agent-1", trace_id="run-1", journal_dir=journal_dir) as client:
        yield client


def test_an_exception_that_can_not_say_what_it_is_comes_out_as_it_was(client, journal_dir):
    with pytest.raises(Odd), client.timed("api_call", "x"):
        raise Odd
    assert only(journal_dir).metadata["error"] == {"type": "Odd", "message": "<Odd>"}


def test_what_no_event_can_hold_is_said_before_the_work_begins(client, journal_dir):
    for arguments in ({"action_type": "sing"}, {"actor": "god"}):
        with pytest.raises(InvalidEvent):
            client.timed(**{"action_type": "tool_call", "resource": "x", **arguments})


def boom(*_):
    raise ValueError("at the end")


def generator():
    got = yield 1
    assert got == "sent"
    boom()


async def coroutine():
    import asyncio

    await asyncio.sleep(0)
    boom()


async def async_generator():
    got = yield 1
    assert got == "sent"
    boom()


class Callable:
    async def __call__(self):
        await coroutine()


def returning(function):
    """A plain function that returns what `function` returns."""
    return lambda: function() or None


class Awaitable:
    def __await__(self):
        return coroutine().__await__()


def run_generator(made):
    assert next(made) == 1
    with pytest.raises(ValueError, match="at the end"):
        made.send("sent")


def run_awaitable(made):
    import asyncio

    async def wait():
        with pytest.raises(ValueError, match="at the end"):
            await made

    asyncio.run(wait())


def run_async_generator(made):
    import asyncio

    async def walk():
        assert await made.__anext__() == 1
        with pytest.raises(ValueError, match="at the end"):
            await made.asend("sent")

    asyncio.run(walk())


def run_future(made):
    with pytest.raises(ValueError, match="at the end"):
        made.result(20)


def in_a_pool():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(boom)


@pytest.mark.parametrize(
    "function, run",
    [
        (generator, run_generator),
        (functools.partial(generator), run_generator),
        (returning(generator), run_generator),
        (coroutine, run_awaitable),
        (functools.partial(coroutine), run_awaitable),
        (returning(coroutine), run_awaitable),
        (Callable(), run_awaitable),
        (returning(Awaitable), run_awaitable),
        (async_generator, run_async_generator),
        (returning(async_generator), run_async_generator),
        (in_a_pool, run_future),
    ],
    ids=(
        "generator, partial of one, generator returned, coroutine, partial of one, coroutine returned, async __call__, "
        "awaitable, async generator, async generator returned, future"
    ).split(", "),
)
def test_work_is_recorded_when_it_ends_with_its_error(client, journal_dir, function, run):
    made = client.timed("tool_call", "work")(function)()
    if run is not run_future:
        assert not journal_dir.exists()
    run(made)
    found = only(journal_dir)
    assert found.status.value == "error"
    assert found.metadata["error"] == {"type": "ValueError", "message": "at the end"}


def test_decorated_functions_stay_what_they_are(client):
    import inspect

    timed = client.timed("tool_call", "work")
    assert inspect.isgeneratorfunction(timed(generator))
    assert inspect.iscoroutinefunction(timed(coroutine))
    assert inspect.isasyncgenfunction(timed(async_generator))


def test_a_generator_that_is_left_early_is_not_an_error_and_is_closed(client, journal_dir):
    closed = []

    @client.timed("tool_call", "pages")
    def pages():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    for page in pages():
        if page == 3:
            break
    assert closed == [True]
    assert only(journal_dir).status.value == "success"


def test_what_is_thrown_into_an_async_generator_reaches_it(client, journal_dir):
    import asyncio

    @client.timed("tool_call", "stream")
    async def stream():
        try:
            yield 1
        except KeyError:
            yield 2

    async def walk():
        made = stream()
        assert await made.__anext__() == 1
        assert await made.athrow(KeyError()) == 2
        await made.aclose()

    asyncio.run(walk())
    assert only(journal_dir).status.value == "success"


# --- settings ---


@pytest.mark.parametrize("key", ["the-key\n", "the-key\r\n", " the-key\t"])
def test_white_space_around_the_key_and_the_address_is_not_sent(sink, journal_dir, monkeypatch, key):
    monkeypatch.setenv("AIMGENTIX_API_KEY", key)
    monkeypatch.setenv("AIMGENTIX_API_URL", sink.url + "\n")
    with AuditClient(journal_dir=journal_dir) as client:
        client.record("tool_call", "x")
        assert client.flush(20)
    assert sink.requests[0].headers["authorization"] == "Bearer the-key"
    assert command("drain", "--dir", journal_dir).returncode == 0


@pytest.mark.parametrize("key", ["the-key\u2026", "the\nkey", "k\u00e9y", "k\0y"])
def test_a_key_that_no_header_can_hold_is_one_line_that_names_the_setting(journal_dir, key):
    with pytest.raises(SettingError, match="AIMGENTIX_API_KEY") as caught:
        AuditClient("http://127.0.0.1:9", api_key=key, journal_dir=journal_dir)
    assert "\n" not in str(caught.value) and key not in str(caught.value)


def test_without_a_home_folder_nothing_is_written_into_the_present_one(tmp_path, monkeypatch):
    import pwd

    def nobody(user):
        raise KeyError(user)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match="AIMGENTIX_JOURNAL_DIR"):
        AuditClient()
    assert list(tmp_path.iterdir()) == []
    AuditClient(journal_dir=tmp_path / "journal").record("tool_call", "x")


# --- the end of a process, logs, and disks that were full ---


def test_captures_at_shutdown_raise_nothing_and_are_kept(journal_dir, run_python):
    done = run_python(
        """
import sys, aimgentix
client = aimgentix.AuditClient(journal_dir=sys.argv[1])
class Late:
    def __init__(self, name):
        self.name = name
        self.client = client
    def __del__(self):
        self.client.record("tool_call", self.name, metadata={"password": "hunter2"})
late = Late("a global")
cycle = Late("a cycle")
cycle.me = cycle
aimgentix.late = Late("in a module")
def keep(late=Late("a default")):
    pass
""",
        str(journal_dir),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(resources(journal_dir)) == ["a cycle", "a default", "a global", "in a module"]
    assert verify_directory(journal_dir).problems == []


@pytest.mark.parametrize("first", [True, False])
def test_captures_at_shutdown_with_a_backend(sink, journal_dir, run_python, first):
    done = run_python(
        """
import sys, aimgentix
client = aimgentix.AuditClient(sys.argv[1], journal_dir=sys.argv[2])
class Late:
    def __init__(self):
        self.client = client
    def __del__(self):
        self.client.record("tool_call", "late")
late = Late()
if sys.argv[3] == "True":
    client.record("tool_call", "early")
""",
        sink.url,
        str(journal_dir),
        str(first),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(resources(journal_dir)) == ["early", "late"][not first :]


def test_a_log_handler_that_captures_does_not_feed_itself(sink, journal_dir, run_python):
    done = run_python(
        """
import logging, sys, time, aimgentix
client = aimgentix.AuditClient(sys.argv[1], journal_dir=sys.argv[2], flush_interval=0.01, batch_events=1)
class Handler(logging.Handler):
    def emit(self, record):
        client.record("tool_call", f"log {record.name}")
logging.basicConfig(level=logging.DEBUG, handlers=[Handler()])
logging.getLogger("mine").debug("once")
for _ in range(5):
    assert client.flush(20)
print(client.counters)
""",
        sink.url,
        str(journal_dir),
    )
    assert (done.stdout, done.stderr) == ("captured 1, delivered 1, spooled 0, rejected 0\n", "")
    assert delivered(sink) == ["log mine"]


@pytest.mark.parametrize("from_the_start", [True, False])
def test_verify_says_how_many_events_no_chain_holds(sink, tmp_path, from_the_start):
    directory = tmp_path / "journal"
    client = AuditClient(sink.url, journal_dir=directory, flush_interval=60)
    if from_the_start:
        directory.write_text("in the way")
    else:
        client.record("tool_call", "before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        fill(client, 25)
        assert client.flush(20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if from_the_start:
        directory.unlink()
    client._journal._retry_disk_at = 0.0
    client.record("tool_call", "after")
    client.close()
    assert len(sink.events) == 26 + (not from_the_start)
    done = command("verify", "--dir", directory)
    assert done.returncode == 0
    assert "whole; not covered: 25 events while no disk could be written" in done.stdout
    assert (
        sum(each["outside"] for each in json.loads(command("verify", "--dir", directory, "--json").stdout)["segments"])
        == 25
    )


def test_a_child_records_in_every_thread_whatever_idents_the_parents_threads_had(sink, journal_dir, run_python):
    done = run_python(
        """
import os, sys, threading, time, aimgentix
client = aimgentix.AuditClient(sys.argv[1], journal_dir=sys.argv[2], exit_timeout=20)
client.record("tool_call", "parent")
assert client.flush(20)
if os.fork() == 0:
    threads = [threading.Thread(target=client.record, args=("tool_call", f"child {n}")) for n in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    os._exit(0 if client.counters.captured == 20 else 3)
print(os.wait()[1])
""",
        sink.url,
        str(journal_dir),
        **QUIET,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


# --- many old segments ---


def test_a_short_process_looks_at_a_bounded_number_of_old_segments(sink, journal_dir, run_python):
    with AuditClient(journal_dir=journal_dir) as client:
        client.record("tool_call", "x")
    (line,) = next(journal_dir.glob("*.jsonl")).read_bytes().splitlines()
    for number in range(1500):
        orphan(journal_dir, f"{number:016x}", line)
        (journal_dir / f"20000101T000000Z-1-{number:016x}.offset").write_text(str(len(line) + 1))
    script = """
import os, sys, aimgentix
opened = []
sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)
client = aimgentix.AuditClient(sys.argv[1], journal_dir=sys.argv[2])
client.record("tool_call", "new")
assert client.close(20)
print(sum(str(path).startswith(sys.argv[2]) for path in opened))
"""
    done = run_python(script, sink.url, str(journal_dir))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 450
    assert delivered(sink) == ["new", "x"]


def test_prune_removes_what_is_old_and_delivered_and_nothing_that_is_needed(sink, journal_dir):
    with AuditClient(journal_dir=journal_dir, segment_bytes=1) as client:
        fill(client, 3)
    assert command("drain", "--dir", journal_dir, "--api-url", sink.url).returncode == 0
    with AuditClient(journal_dir=journal_dir) as client:
        client.record("tool_call", "waiting")
    last = next(path for path in journal_dir.glob("*.jsonl") if b'"r002"' in path.read_bytes())
    assert "0 segments removed, 4 kept" in command("prune", "--dir", journal_dir, "--older-than", "1").stdout
    for path in journal_dir.glob("*.jsonl"):
        os.utime(path, (0, 0))
    os.utime(last)
    assert "0 segments removed, 4 kept" in command("prune", "--dir", journal_dir, "--older-than", "1").stdout
    os.utime(last, (0, 0))
    living = AuditClient(journal_dir=journal_dir)
    living.record("tool_call", "living")
    done = command("prune", "--dir", journal_dir, "--older-than", "0.5")
    assert (done.returncode, done.stdout) == (0, f"{journal_dir}: 3 segments removed, 2 kept\n")
    assert sorted(resources(journal_dir)) == ["living", "waiting"]
    assert not list(journal_dir.glob("*.offset"))
    done = command("prune", "--dir", journal_dir, "--older-than", "0", "--archived")
    assert "1 segments removed, 1 kept" in done.stdout
    assert resources(journal_dir) == ["living"]
    living.close()
    assert command("prune", "--dir", journal_dir, "--older-than", "nan").returncode == 2


def test_reading_and_writing_import_each_other_in_one_direction(run_python):
    for order in ("verify, journal", "journal, verify", "segments", "delivery", "status"):
        assert run_python(f"from aimgentix import {order}").stderr == ""
    done = run_python("import sys, aimgentix.verify; print('aimgentix.journal' in sys.modules)")
    assert done.returncode == 0
    assert run_python("from aimgentix.journal import read_events, verify_directory, Journal").stderr == ""
