"""The client without a backend: settings, timing, counters, and what people see."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from aimgentix import ActionType, AuditClient, InvalidEvent, JournalError
from aimgentix.journal import read_events, verify_directory
from aimgentix.plain import PlainRecorder
from aimgentix.recorder import Recorder
from aimgentix.settings import SettingError
from aimgentix.status import directory_status
from support.sdk.helpers import SDK, event


@pytest.fixture
def client(journal_dir):
    with AuditClient(agent_instance_id="agent-1", trace_id="run-1", journal_dir=journal_dir) as client:
        yield client


def only(directory):
    events = read_events(directory)
    assert len(events) == 1
    return events[0]


def test_captured_events_are_in_the_journal_as_they_were_given(client, journal_dir):
    given = event(latency_ms=1.5, metadata={"a": [1, None]})
    client.capture(given)
    assert only(journal_dir) == given


def test_no_thread_and_no_http_library_without_a_backend(journal_dir, run_python):
    done = run_python(
        """
import sys, threading, aimgentix
client = aimgentix.AuditClient(journal_dir=sys.argv[1])
client.record("tool_call", "x")
client.flush()
assert threading.active_count() == 1
print(sorted({"urllib3", "http.client", "ssl", "asyncio", "dataclasses", "typing", "logging"} & set(sys.modules)))
""",
        str(journal_dir),
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_recorder_writes_the_journal_and_sends_nothing_whatever_the_environment_names(journal_dir, sink, run_python):
    done = run_python(
        """
import sys
from aimgentix.events import AuditEvent
from aimgentix.recorder import Recorder
recorder = Recorder("agent-1", "run-1", sys.argv[1], strict=True)
said = {"note": "hunter2secret"}
recorder.capture(AuditEvent("agent-1", "run-1", "agent", "tool_call", "x", "success", metadata=said))
print(recorder.journal_head)
print(*(name for name in sys.modules if name.startswith("aimgentix.")))
""",
        str(journal_dir),
        AIMGENTIX_API_URL=sink.url,
        MY_PASSWORD="hunter2secret",
    )
    head, loaded = done.stdout.splitlines()
    assert done.stderr == "" and verify_directory(journal_dir).segments[0].head == head
    assert only(journal_dir).metadata["note"] == "[REDACTED]"
    assert not {"client", "sender", "delivery", "transport"} & {name.partition(".")[2] for name in loaded.split()}
    assert sink.requests == []


def test_a_recorder_that_ends_gives_its_segment_up_and_says_what_is_not_safe(tmp_path):
    with Recorder("agent-1", "run-1", tmp_path, strict=True) as recorder:
        recorder.capture(event(), durable=True)
        assert directory_status(tmp_path)[0].in_use
    assert not directory_status(tmp_path)[0].in_use
    (tmp_path / "file").touch()
    with pytest.raises(JournalError), Recorder("agent-1", "run-1", tmp_path / "file", strict=True) as recorder:
        recorder.capture(event())


def test_a_plain_recorder_writes_the_same_journal_and_raises_what_it_cannot_write(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_PASSWORD", "hunter2secret")
    monkeypatch.setenv("AIMGENTIX_REDACT_PATTERNS", "cust-[0-9]+")
    recorder = PlainRecorder("agent-1", "run-1", tmp_path / "journal")
    said = {"note": "hunter2secret of cust-1"}
    recorder.capture(event(metadata=said), durable=True)
    head = recorder.journal_head
    assert directory_status(tmp_path / "journal")[0].in_use
    with monkeypatch.context() as short:
        write = os.write
        short.setattr(os, "write", lambda fd, data: write(fd, data[:-5]))
        with pytest.raises(OSError, match="No space left"):
            recorder.capture(event())
    assert recorder.journal_head == head
    recorder.capture(event())
    recorder.close()
    assert not directory_status(tmp_path / "journal")[0].in_use
    found = verify_directory(tmp_path / "journal")
    assert (found.problems, found.segments[0].lines, found.segments[0].head) == ([], 2, recorder.journal_head)
    assert [each.metadata for each in read_events(tmp_path / "journal")] == [
        {"note": "[REDACTED] of [REDACTED]", "redacted": ["/metadata/note"]},
        {},
    ]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        PlainRecorder("agent-1", "run-1", tmp_path / "file" / "x").capture(event())
    with pytest.raises(InvalidEvent, match="agent_instance_id"):
        PlainRecorder("x" * 256, "run-1", tmp_path)


def test_counters_and_head(client, journal_dir):
    assert client.journal_head is None
    assert client.counters.to_dict() == {"captured": 0, "delivered": 0, "spooled": 0, "rejected": 0, "lost": 0}
    client.record("tool_call", "a")
    client.record("tool_call", "b", durable=True)
    assert str(client.counters) == "captured 2, delivered 0, spooled 2, rejected 0"
    assert client.flush() is True
    head = verify_directory(journal_dir).segments[0].head
    assert client.journal_head == head
    assert client.close() is True
    assert client.journal_head == head
    assert client.close() is True


def test_record_uses_the_clients_names_and_makes_any_resource_fit(client, journal_dir):
    client.record("file_read", "x\0\udcff" + "r" * 2000, "error", "human", 3, {"k": "v"})
    found = only(journal_dir)
    assert (found.agent_instance_id, found.trace_id, found.actor.value) == ("agent-1", "run-1", "human")
    assert (found.action_type, found.status.value) == (ActionType.FILE_READ, "error")
    assert (found.latency_ms, found.metadata) == (3, {"k": "v"})
    assert found.resource.startswith("x\\u0000\\udcffrrr")
    assert len(found.resource) == 1024
    with pytest.raises(InvalidEvent, match="action_type"):
        client.record("sing", "x")


def test_metadata_of_the_client_is_added_and_the_events_own_wins(journal_dir):
    with AuditClient(journal_dir=journal_dir, metadata={"gha": {"run_id": "1"}, "a": 1}) as client:
        client.capture(event(metadata={"a": 2, "b": 3}))
    assert only(journal_dir).metadata == {"gha": {"run_id": "1"}, "a": 2, "b": 3}


def test_timed_records_success_with_its_duration(client, journal_dir):
    with client.timed("api_call", "service/payments", metadata={"a": 1}) as action:
        action.metadata["b"] = 2
        threading.Event().wait(0.02)
    found = only(journal_dir)
    assert found == action.event
    assert found.status.value == "success"
    assert 15 <= found.latency_ms < 5000
    assert found.metadata == {"a": 1, "b": 2}


def test_timed_records_errors_redacted_and_lets_them_go_on(client, journal_dir):
    with pytest.raises(ConnectionError), client.timed("http_request", "https://x"):
        raise ConnectionError("can't reach postgres://bob:s3cr3t@db")
    found = only(journal_dir)
    assert found.status.value == "error"
    assert found.metadata["error"] == {
        "type": "ConnectionError",
        "message": "can't reach postgres://bob:[REDACTED]@db",
    }
    assert found.metadata["redacted"] == ["/metadata/error/message"]


@pytest.mark.parametrize(
    "error, status", [(SystemExit(0), "success"), (SystemExit(), "success"), (SystemExit(3), "error")]
)
def test_leaving_with_code_0_is_not_an_error(client, journal_dir, error, status):
    with pytest.raises(SystemExit), client.timed("tool_call", "x"):
        raise error
    assert only(journal_dir).status.value == status


def test_interrupts_are_recorded_too(client, journal_dir):
    with pytest.raises(KeyboardInterrupt), client.timed("tool_call", "x"):
        raise KeyboardInterrupt
    assert only(journal_dir).metadata["error"]["type"] == "KeyboardInterrupt"


def test_the_decorator_records_every_call_and_keeps_the_functions_face(client, journal_dir):
    @client.timed("tool_call", "double", metadata={"shared": True})
    def double(number):
        """Twice as much."""
        return number * 2

    assert (double.__name__, double.__doc__) == ("double", "Twice as much.")
    assert [double(1), double(number=2)] == [2, 4]
    with pytest.raises(TypeError):
        double(None)
    events = read_events(journal_dir)
    assert [each.status.value for each in events] == ["success", "success", "error"]
    assert len({each.event_id for each in events}) == 3
    assert "error" not in events[0].metadata


def test_the_decorator_awaits_coroutines(client, journal_dir):
    @client.timed("api_call", "wait")
    async def wait():
        await asyncio.sleep(0.02)
        raise ValueError("after waiting")

    with pytest.raises(ValueError, match="after waiting"):
        asyncio.run(wait())
    found = only(journal_dir)
    assert found.latency_ms >= 15
    assert found.metadata["error"]["type"] == "ValueError"


def test_every_setting_can_come_from_the_environment(journal_dir, monkeypatch):
    for name, value in {
        "AIMGENTIX_JOURNAL_DIR": str(journal_dir),
        "AGENT_INSTANCE_ID": "agent-env",
        "TRACE_ID": "trace-env",
        "AIMGENTIX_STRICT": "yes",
        "AIMGENTIX_REDACT_PATTERNS": "cust-[0-9]+\nacct-[0-9]+",
        "AIMGENTIX_REDACT_ENV": "VENDOR_LICENCE, OTHER",
        "VENDOR_LICENCE": "licence-value",
        "MY_API_KEY": "value-of-my-key",
        "AIMGENTIX_SEGMENT_BYTES": "1",
        "AIMGENTIX_EXIT_TIMEOUT": "0.25",
    }.items():
        monkeypatch.setenv(name, value)
    with AuditClient() as client:
        assert client.exit_timeout == 0.25
        client.record("tool_call", "cust-1 acct-2 licence-value value-of-my-key")
        client.record("tool_call", "b")
    first, second = read_events(journal_dir)
    assert (first.agent_instance_id, first.trace_id) == ("agent-env", "trace-env")
    assert first.resource == " ".join(["[REDACTED]"] * 4)
    assert second.resource == "b"
    assert len(verify_directory(journal_dir).segments) == 2
    with AuditClient(agent_instance_id="given", trace_id="given", journal_dir=journal_dir / "given") as client:
        assert (client.agent_instance_id, client.trace_id) == ("given", "given")


def test_strict_from_the_environment(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIMGENTIX_STRICT", "1")
    with pytest.raises(JournalError), AuditClient(journal_dir=tmp_path / "file" / "x") as client:
        client.capture(event())


@pytest.mark.parametrize(
    "name, value",
    [
        ("AIMGENTIX_STRICT", "maybe"),
        ("AIMGENTIX_EXIT_TIMEOUT", "soon"),
        ("AIMGENTIX_EXIT_TIMEOUT", "-1"),
        ("AIMGENTIX_EXIT_TIMEOUT", "nan"),
        ("AIMGENTIX_EXIT_TIMEOUT", "inf"),
        ("AIMGENTIX_SEGMENT_BYTES", "8.5"),
        ("AIMGENTIX_BATCH_EVENTS", "0"),
        ("AIMGENTIX_API_URL", "ftp://example.com"),
        ("AIMGENTIX_API_URL", "example.com"),
        ("AIMGENTIX_API_URL", "http://"),
        ("AIMGENTIX_API_URL", "http://a b"),
        ("AIMGENTIX_API_URL", "http://host:port"),
        ("AIMGENTIX_REDACT_PATTERNS", "("),
    ],
)
def test_impossible_settings_are_named_in_one_line(name, value, journal_dir, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError) as caught:
        AuditClient(journal_dir=journal_dir)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value) or "redaction pattern" in str(caught.value)
    if name != "AIMGENTIX_REDACT_PATTERNS":
        assert isinstance(caught.value, SettingError)


@pytest.mark.parametrize("name", ["agent_instance_id", "trace_id"])
@pytest.mark.parametrize("value", ["x" * 256, "a\0b", "\udc80"])
def test_ids_that_no_event_can_have_are_refused_at_once(name, value):
    with pytest.raises(InvalidEvent, match=name):
        AuditClient(**{name: value})


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"RUNNER_TEMP": "/runner/temp"}, "/runner/temp/aimgentix/journal"),
        ({"XDG_STATE_HOME": "/state"}, "/state/aimgentix/journal"),
        ({"HOME": "/home/bob"}, "/home/bob/.local/state/aimgentix/journal"),
        ({"AIMGENTIX_JOURNAL_DIR": "/here", "RUNNER_TEMP": "/runner/temp"}, "/here"),
    ],
)
def test_where_the_journal_goes_by_itself(environment, expected, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert AuditClient().journal_dir == expected


@pytest.mark.parametrize(
    "parent, taken",
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", False),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", False),
        ("nonsense", False),
    ],
)
def test_the_trace_id_of_traceparent(parent, taken, monkeypatch):
    monkeypatch.setenv("TRACEPARENT", parent)
    client = AuditClient()
    assert len(client.trace_id) == 32
    assert (client.trace_id == "0af7651916cd43dd8448eb211c80319c") is taken


def test_names_by_default_show_host_and_process():
    assert AuditClient().agent_instance_id.endswith(f"-{os.getpid()}")


def test_one_warning_and_no_failure_when_no_disk_can_be_written(tmp_path, run_python):
    (tmp_path / "file").write_text("in the way")
    done = run_python(
        """
import sys, aimgentix
client = aimgentix.AuditClient(journal_dir=sys.argv[1])
for number in range(50):
    client.record("tool_call", f"r{number}", durable=number % 2 == 0)
assert client.flush() is False
print(client.counters)
""",
        str(tmp_path / "file" / "journal"),
    )
    assert (done.returncode, done.stdout) == (0, "captured 50, delivered 0, spooled 50, rejected 0\n")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "can't write the journal" in lines[0]
    assert lines[1] == "aimgentix: events that could neither be stored nor delivered: 50"


def test_events_captured_after_close_are_journalled(client, journal_dir):
    client.record("tool_call", "a")
    client.close()
    client.record("tool_call", "b")
    assert [each.resource for each in read_events(journal_dir)] == ["a", "b"]
    assert verify_directory(journal_dir).ok


def test_types_are_shipped():
    import aimgentix

    assert (Path(aimgentix.__file__).parent / "py.typed").exists()
    assert aimgentix.__version__
    assert all(hasattr(aimgentix, name) for name in aimgentix.__all__)


def test_what_delivery_imports_is_what_installing_the_package_brings(sink, journal_dir, run_python):
    """Every foreign module of a process that delivers belongs to a dependency of the package, or to one of its own."""
    done = run_python(
        """
import sys
before = set(sys.modules)
import aimgentix
with aimgentix.AuditClient(sys.argv[1], journal_dir=sys.argv[2]) as client:
    client.record("tool_call", "x")
    assert client.flush(30)
import importlib.metadata, re
with open(sys.argv[3]) as file:
    declared = re.search(r"^dependencies = \\[(.*)\\]$", file.read(), re.M).group(1)
names, found = re.findall(r'"([a-z0-9_-]+)', declared), set()
while names:
    name = names.pop()
    if name not in found:
        found.add(name)
        for text in importlib.metadata.requires(name) or ():
            if "extra ==" not in text:
                names.append(re.match("[A-Za-z0-9_-]+", text).group().lower())
files = {str(each.locate()) for name in found for each in importlib.metadata.files(name)}
for name in set(sys.modules) - before:
    path = getattr(sys.modules[name], "__file__", None) or ""
    if "site-packages" in path and path not in files:
        print(name, path)
""",
        sink.url,
        str(journal_dir),
        str(SDK / "pyproject.toml"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
