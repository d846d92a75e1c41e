"""The journal under threads, signals, forks, kills and disks that refuse."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aimgentix.journal import Journal, JournalError, read_events, verify_directory
from support.sdk.helpers import child_environment, event


def resources(directory):
    return [each.resource for each in read_events(directory)]


def encoded(name):
    return event(resource=name).encode()


def test_files_and_folders_are_for_their_owner_only(tmp_path):
    os.umask(0o022)
    journal = Journal(tmp_path / "a" / "b")
    journal.append(encoded("x"))
    assert stat.S_IMODE(Path(journal.path or "").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_nothing_is_created_before_the_first_event(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.sync()
    journal.close()
    assert (journal.path, journal.head) == (None, None)
    assert not (tmp_path / "journal").exists()


def test_an_event_is_in_the_file_when_append_returns(tmp_path):
    journal = Journal(tmp_path)
    for number in range(3):
        assert journal.append(encoded(f"e{number}"))
        assert resources(tmp_path) == [f"e{n}" for n in range(number + 1)]
    assert journal.head == verify_directory(tmp_path).segments[0].head
    journal.close()
    assert journal.head == verify_directory(tmp_path).segments[0].head


def test_a_line_is_one_write_and_durable_ones_are_synced(tmp_path, run_python):
    script = """
import os, sys
calls = []
for name in ("write", "fsync"):
    real = getattr(os, name)
    def spy(*a, real=real, name=name):
        calls.append(name)
        return real(*a)
    setattr(os, name, spy)
from aimgentix.journal import Journal
journal = Journal(sys.argv[1])
journal.append(b"{}")
journal.append(b"{}")
assert calls == ["write", "write"], calls
journal.append(b"{}", durable=True)
assert calls == ["write"] * 3 + ["fsync"] * 2, calls   # the file, and once the folder that names it
journal.append(b"{}", durable=True)
assert calls[5:] == ["write", "fsync"], calls
journal.sync()
assert len(calls) == 7, calls   # there was nothing to do
journal.append(b"{}")
journal.sync()
journal.close()
assert calls[7:] == ["write", "fsync"], calls
"""
    done = run_python(script, str(tmp_path / "journal"))
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_share_one_chain(tmp_path):
    journal = Journal(tmp_path, segment_bytes=20_000)

    def work(name):
        for number in range(200):
            journal.append(encoded(f"{name}/{number}"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    report = verify_directory(tmp_path)
    assert report.ok
    assert sum(segment.lines for segment in report.segments) == 800
    assert len(set(resources(tmp_path))) == 800


def test_a_signal_handler_may_append_in_the_middle_of_an_append(tmp_path):
    """A timer cuts into the main thread's appends, hundreds of times."""
    journal = Journal(tmp_path)
    handled: list[int] = []

    def handler(number, frame):
        journal.append(encoded(f"signal/{len(handled)}"))
        handled.append(number)

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        count = 0
        armed = -1
        while len(handled) < 300:
            if armed < len(handled):
                armed = len(handled)
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.000001 * (armed % 50))
            journal.append(encoded(f"main/{count}"))
            count += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    journal.close()
    report = verify_directory(tmp_path)
    assert report.problems == []
    found = resources(tmp_path)
    assert len(found) == len(set(found)) == count + len(handled)


def test_an_exception_out_of_an_append_costs_a_segment_and_no_event(tmp_path):
    class Cut(Exception):
        pass

    def handler(number, frame):
        raise Cut

    journal = Journal(tmp_path)
    previous = signal.signal(signal.SIGALRM, handler)
    accepted: list[str] = []
    cuts = 0
    try:
        while cuts < 200:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0003 + 0.000001 * (cuts % 50))
                while True:
                    name = f"main/{len(accepted)}/{cuts}"
                    data = encoded(name)
                    journal.append(data)
                    accepted.append(name)
            except Cut:
                cuts += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    journal.append(encoded("last"))
    journal.close()
    assert verify_directory(tmp_path).problems == []
    assert set(accepted) | {"last"} <= set(resources(tmp_path))


def test_a_forked_child_has_a_segment_of_its_own(tmp_path):
    journal = Journal(tmp_path)
    journal.append(encoded("parent before"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert journal.path is None
            assert journal.accepted == 0
            journal.append(encoded("child"))
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    journal.append(encoded("parent after"))
    report = verify_directory(tmp_path)
    assert report.ok
    assert sorted(segment.lines for segment in report.segments) == [1, 2]
    assert sorted(resources(tmp_path)) == ["child", "parent after", "parent before"]


def test_a_fork_while_threads_append_does_not_hang_the_child(tmp_path):
    journal = Journal(tmp_path)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            journal.append(encoded("thread"))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                journal.append(encoded("child"))
                journal.sync()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert verify_directory(tmp_path).ok
    assert resources(tmp_path).count("child") == 20


@pytest.fixture
def file_size_limit():
    """Let no file of this process grow beyond `limit` bytes: the kernel then refuses the write, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_short_write_ends_the_segment_and_the_next_one_says_why(tmp_path, file_size_limit):
    journal = Journal(tmp_path)
    line = len(encoded("e0")) + 200
    file_size_limit(3 * line + 50)
    for number in range(20):
        assert journal.append(encoded(f"e{number}"))
    file_size_limit(resource.RLIM_INFINITY)
    journal.close()
    report = verify_directory(tmp_path)
    assert report.problems == []
    assert resources(tmp_path) == [f"e{n}" for n in range(20)]
    reasons = {segment.after["reason"] for segment in report.segments if segment.after}
    assert reasons <= {"write failed: EFBIG", "write failed: ENOSPC"}
    assert reasons


def test_events_wait_in_memory_while_no_disk_takes_them_and_come_first_afterwards(
    tmp_path, file_size_limit, monkeypatch
):
    complaints: list[str] = []
    journal = Journal(tmp_path, complain=complaints.append)
    journal.append(encoded("before"))
    file_size_limit(10)
    for number in range(5):
        assert journal.append(encoded(f"held{number}"))
    assert journal.held == 5
    assert journal.sync() is False
    assert len(set(complaints)) == 1
    assert "stay in memory" in complaints[0]
    file_size_limit(resource.RLIM_INFINITY)
    monkeypatch.setattr("aimgentix.journal.RETRY_DISK_SECONDS", 0.0)
    journal._retry_disk_at = 0.0  # five seconds later
    journal.append(encoded("after"))
    assert journal.held == 0
    journal.close()
    report = verify_directory(tmp_path)
    assert report.problems == []
    assert resources(tmp_path) == ["before", *[f"held{n}" for n in range(5)], "after"]


def test_what_does_not_fit_in_memory_is_refused_and_counted(tmp_path, file_size_limit):
    journal = Journal(tmp_path, memory_bytes=3 * len(encoded("e0")))
    file_size_limit(10)
    assert [journal.append(encoded(f"e{n}")) for n in range(5)] == [True, True, True, False, False]
    assert (journal.accepted, journal.refused, journal.held) == (3, 2, 3)


def test_strict_raises_instead_and_works_again_when_the_disk_does(tmp_path, file_size_limit):
    journal = Journal(tmp_path, strict=True)
    journal.append(encoded("before"))
    file_size_limit(10)
    for _ in range(3):
        with pytest.raises(JournalError, match=r"not in the journal: .*(File too large|No space left)"):
            journal.append(encoded("refused"))
    file_size_limit(resource.RLIM_INFINITY)
    journal.append(encoded("after"))
    journal.close()
    assert verify_directory(tmp_path).problems == []
    assert resources(tmp_path) == ["before", "after"]
    assert journal.accepted == 2


def test_strict_raises_when_the_folder_can_not_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalError):
        Journal(tmp_path / "file" / "journal", strict=True).append(encoded("x"))


def test_a_full_file_system(tmp_path):
    """A tmpfs of 64 KiB, filled to the last byte, in a mount namespace of its own: as root, or through sudo."""
    script = """
import ctypes, os, sys
directory = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x00020000) or libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) or libc.mount(
    b"tmpfs", directory.encode(), b"tmpfs", 0, b"size=64k"
):
    print("not allowed")
    raise SystemExit
from aimgentix.journal import Journal, read_events, verify_directory
complaints = []
journal = Journal(os.path.join(directory, "journal"), complain=complaints.append)
event = b'{"event_id":"0192e4a0-7b1c-7d3e-9a4b-%012d","timestamp":"2026-11-22T11:00:00Z","agent_instance_id":"a",' \\
    b'"trace_id":"t","actor":"agent","action_type":"api_call","resource":"' + b"r" * 600 + b'","status":"success"}'
sent = 0
while not journal.held:
    journal.append(event % sent)
    sent += 1
stored = len(read_events(journal.directory))
print("stored", stored, "held", journal.held, "sent", sent)
assert stored + journal.held == sent
assert verify_directory(journal.directory).ok, verify_directory(journal.directory).problems
assert "No space left" in complaints[0]
"""
    mount = tmp_path / "small"
    mount.mkdir()
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n", "--preserve-env=PYTHONPATH"]
    command = [*sudo, sys.executable, "-c", script, str(mount)]
    allowed = not sudo or subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode == 0
    done = subprocess.run(
        command if allowed else ["echo", "not allowed"],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if "not allowed" in done.stdout:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up("this user may not mount a file system")
    assert "stored" in done.stdout


def test_dev_full_is_a_full_disk(tmp_path, monkeypatch):
    """Every write to /dev/full fails with ENOSPC: the event goes to a new segment."""
    journal = Journal(tmp_path)
    journal.append(encoded("first"))
    full = os.open("/dev/full", os.O_WRONLY)
    assert journal._segment
    os.dup2(full, journal._segment.fd)
    os.close(full)
    assert journal.append(encoded("second"))
    journal.close()
    assert resources(tmp_path) == ["first", "second"]
    report = verify_directory(tmp_path)
    assert report.problems == []
    assert [s.after["reason"] for s in report.segments if s.after] == [f"write failed: {errno.errorcode[errno.ENOSPC]}"]


def test_many_full_segments_do_not_use_up_the_descriptors(tmp_path):
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    journal = Journal(tmp_path, segment_bytes=1)
    for number in range(100):
        journal.append(encoded(f"e{number}"))
    highest = os.open(os.devnull, os.O_RDONLY)
    os.close(highest)
    assert highest - lowest < 20
    journal.close()
    assert verify_directory(tmp_path).ok
    assert len(resources(tmp_path)) == 100


def test_journals_are_not_confused_by_foreign_files(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "sub.jsonl.bak").write_text("{}")
    journal = Journal(tmp_path)
    journal.append(encoded("x"))
    assert json.loads(Path(journal.path or "").read_text())["event"]["resource"] == "x"
    assert resources(tmp_path) == ["x"]
