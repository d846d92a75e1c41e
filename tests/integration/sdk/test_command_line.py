"""`python -m aimgentix journal …`: answers, exit codes and one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aimgentix import AuditClient
from aimgentix.verify import KINDS
from support.sdk.helpers import SPECS, child_environment, event


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "aimgentix", *map(str, arguments)],
        env=child_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def journal(journal_dir):
    """A journal with three events of a process that is gone."""
    with AuditClient(agent_instance_id="agent-1", trace_id="run-1", journal_dir=journal_dir) as client:
        client.capture(event(resource="first", latency_ms=2.5, timestamp="2026-11-22T11:00:00Z"))
        client.capture(event(resource="second\x1b[31m\u202e\n", status="error", timestamp="2026-11-22T11:00:01Z"))
        client.capture(event(resource="third", trace_id="run-2", metadata={"ü": "\x1b"}))
    return journal_dir


def segment(journal):
    return next(journal.glob("*.jsonl"))


def one_line(done):
    assert done.stderr.startswith("aimgentix: ")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


@pytest.mark.parametrize(
    "command", [(), ("journal",), *[("journal", c) for c in ("status", "drain", "verify", "show")]]
)
def test_help_explains(command):
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "journal" in done.stdout
    if len(command) == 2:
        assert "AIMGENTIX_JOURNAL_DIR" in done.stdout
    if command[-1:] in (("drain",), ("verify",)):
        assert "exit codes: 0" in done.stdout


@pytest.mark.parametrize("command", [(), ("journal",), ("journal", "dance"), ("journal", "status", "--nonsense")])
def test_wrong_usage_is_2(command):
    assert run(*command).returncode == 2


def test_version():
    assert run("--version").stdout.startswith("aimgentix ")


def test_status(journal):
    done = run("journal", "status", "--dir", journal)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"{journal}: captured 3, delivered 0, waiting 3, rejected 0"
    assert segment(journal).stem in done.stdout
    found = json.loads(run("journal", "status", "--json", AIMGENTIX_JOURNAL_DIR=str(journal)).stdout)
    assert (found["captured"], found["waiting"], found["segments"][0]["in_use"]) == (3, 3, False)
    with AuditClient(journal_dir=journal) as client:
        client.record("tool_call", "x")
        assert "in use" in run("journal", "status", "--dir", journal).stdout


def test_status_of_nothing(tmp_path):
    done = run("journal", "status", AIMGENTIX_JOURNAL_DIR=str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (
        0,
        f"{tmp_path / 'none'}: captured 0, delivered 0, waiting 0, rejected 0\n",
    )


@pytest.mark.parametrize("command", ["status", "verify", "show"])
def test_a_folder_that_is_not_there_is_named(tmp_path, journal, command):
    for wrong in (tmp_path / "nope", segment(journal)):
        done = run("journal", command, "--dir", wrong)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"aimgentix: there is no folder {wrong}: name the journal's folder with --dir\n"


def test_show(journal):
    done = run("journal", "show", "--dir", journal, PYTHONIOENCODING="utf-8")
    lines = done.stdout.splitlines()
    assert lines[0] == "2026-11-22T11:00:00Z run-1 agent-1 agent api_call first success 2.5 ms"
    assert lines[1] == "2026-11-22T11:00:01Z run-1 agent-1 agent api_call second\\x1b[31m\\u202e\\n error"
    assert "\x1b" not in done.stdout
    assert len(lines) == 3
    only = run("journal", "show", "--dir", journal, "--trace", "run-2", "--json").stdout.splitlines()
    assert [json.loads(line)["resource"] for line in only] == ["third"]


def test_show_into_a_pipe_that_closes(journal):
    done = subprocess.run(
        f"'{sys.executable}' -m aimgentix journal show --dir '{journal}' | true",
        shell=True,
        env=child_environment(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_verify(journal):
    done = run("journal", "verify", "--dir", journal)
    assert (done.returncode, done.stdout) == (
        0,
        f"{journal}: 3 lines in 1 segments, 0 anchored by a head: whole\n",
    )
    found = json.loads(run("journal", "verify", "--dir", journal, "--json").stdout)
    head = found["segments"][0]["head"]
    for text in (head, f"{segment(journal).stem}={head}"):
        done = run("journal", "verify", "--dir", journal, "--head", text)
        assert (done.returncode, "1 anchored" in done.stdout) == (0, True)
    assert run("journal", "verify", "--dir", journal, "--head", "0" * 64).returncode == 12
    assert run("journal", "verify", "--dir", journal, "--head", f"other={head}").returncode == 12


@pytest.mark.parametrize(
    "kind, change",
    [
        ("altered", lambda lines: [lines[0].replace(b"first", b"other"), *lines[1:]]),
        ("forked", lambda lines: [*lines, lines[1].replace(b"error", b"denied")]),
        ("missing", lambda lines: [lines[0], lines[2]]),
        ("reordered", lambda lines: [lines[0], lines[2], lines[1]]),
        ("repeated", lambda lines: [lines[0], *lines]),
        ("foreign stream", lambda lines: [*lines, lines[1].replace(b'"stream":"2', b'"stream":"3')]),
        ("appended", lambda lines: lines),
        ("truncated line", lambda lines: [*lines, b"\0{"]),
    ],
)
def test_every_kind_of_damage_has_its_own_exit_code_as_specified(journal, kind, change):
    path = segment(journal)
    lines = path.read_bytes().splitlines()
    head = json.loads(run("journal", "verify", "--dir", journal, "--json").stdout)["segments"][0]["head"]
    data = b"\n".join(change(lines)) + b"\n"
    path.write_bytes(data.replace(b"\0{\n", b"{"))
    arguments = []
    if kind == "appended":
        with AuditClient(journal_dir=journal.parent / "other") as client:
            client.capture(event())
        path.write_bytes(b"\n".join(lines) + b"\n")
        first = json.loads(run("journal", "verify", "--dir", journal, "--json").stdout)["segments"][0]
        assert first["head"] == head
        import hashlib

        arguments = ["--head", f"{path.stem}={hashlib.sha256(lines[1]).hexdigest()}"]
    done = run("journal", "verify", "--dir", journal, *arguments)
    row = next(line for line in (SPECS / "journal.md").read_text().splitlines() if line.startswith(f"| {kind} |"))
    assert done.returncode == int(row.split("|")[2])
    assert f": {kind}: " in done.stdout


def test_the_specification_lists_every_kind_in_order():
    rows = [line.split("|") for line in (SPECS / "journal.md").read_text().splitlines() if line.startswith("| ")]
    documented = [row[1].strip() for row in rows if row[2].strip().isdigit() and row[2].strip().startswith("1")]
    assert documented == list(KINDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--dir", "nowhere"),
        ("show", "--dir", "nowhere"),
        ("verify", "--head", "xyz"),
        ("drain",),
        ("drain", "--api-url", "nonsense"),
        ("drain", "--api-url", "http://127.0.0.1:1", "--timeout", "0"),
        ("drain", "--api-url", "http://127.0.0.1:1", "--timeout", "nan"),
    ],
)
def test_bad_input_is_one_line_and_2(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("journal", *arguments)
    assert done.returncode == 2
    one_line(done)


def test_an_empty_folder_can_not_be_verified(tmp_path):
    done = run("journal", "verify", "--dir", tmp_path)
    assert done.returncode == 2
    assert "holds no journal" in one_line(done)


def test_drain_delivers_and_says_so(journal, sink):
    done = run("journal", "drain", "--dir", journal, AIMGENTIX_API_URL=sink.url, AIMGENTIX_API_KEY="the-api-key")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{journal}: delivered 3, rejected 0, waiting 0\n"
    assert sink.requests[0].headers["authorization"] == "Bearer the-api-key"
    assert "delivered 3, waiting 0" in run("journal", "status", "--dir", journal).stdout
    done = run("journal", "drain", "--dir", journal, "--api-url", sink.url)
    assert done.stdout == f"{journal}: delivered 0, rejected 0, waiting 0\n"
    assert len(sink.requests) == 1


def test_drain_of_nothing_is_done(tmp_path, sink):
    assert run("journal", "drain", "--dir", tmp_path / "none", "--api-url", sink.url).returncode == 0


@pytest.mark.parametrize("mode", ["503", "401", "hang"])
def test_drain_that_can_not_is_3_and_keeps_everything(journal, sink, mode):
    sink.mode = mode
    done = run("journal", "drain", "--dir", journal, "--api-url", sink.url, "--timeout", "0.7")
    assert done.returncode == 3
    assert done.stdout.endswith("delivered 0, rejected 0, waiting 3\n")
    assert sink.url in one_line(done)


def test_drain_waits_for_a_backend_that_comes_back(journal, sink):
    sink.answer = lambda request: (503, {"Retry-After": "1"}, {}) if len(sink.requests) == 1 else None
    done = run("journal", "drain", "--dir", journal, "--api-url", sink.url, "--timeout", "20")
    assert (done.returncode, len(sink.events)) == (0, 3)


def test_drain_with_refused_events_is_4(journal, sink):
    sink.answer = lambda request: (422, {}, {"title": "No"}) if any(b"third" in x for x in request.lines) else None
    done = run("journal", "drain", "--dir", journal, "--api-url", sink.url)
    assert done.returncode == 4
    assert done.stdout.endswith("delivered 2, rejected 1, waiting 0\n")
    assert "422 No" in one_line(done)
    assert Path(journal / "rejected" / segment(journal).name).read_bytes().count(b"\n") == 1
    found = json.loads(run("journal", "status", "--dir", journal, "--json").stdout)
    assert (found["captured"], found["delivered"], found["waiting"], found["rejected"]) == (3, 2, 0, 1)


def test_drain_leaves_running_processes_alone(journal_dir, sink):
    with AuditClient(journal_dir=journal_dir) as client:
        client.record("tool_call", "x")
        done = run("journal", "drain", "--dir", journal_dir, "--api-url", sink.url, "--timeout", "0.5")
        assert done.returncode == 3
        assert "still run" in one_line(done)
        assert sink.requests == []
    assert run("journal", "drain", "--dir", journal_dir, "--api-url", sink.url).returncode == 0


def test_a_password_in_the_address_is_not_printed(journal):
    done = run(
        "journal", "drain", "--dir", journal, "--api-url", "http://u:s3cr3t-v4lue@127.0.0.1:1", "--timeout", "0.3"
    )
    assert done.returncode == 3
    assert "s3cr3t" not in done.stdout + done.stderr
