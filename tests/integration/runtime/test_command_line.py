"""The command line, as somebody meets it who mistyped something: one line with a code, an exit code, no traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import codes
from agent_runtime.gate.deliver import TRAIL_UNDELIVERED
from support import interpreter
from support.sdk.sink import Sink
from support.simulated import TEMPLATE, Clone, clone, outcome_of

__all__ = ["clone"]

NO_ADDRESS = "audit.example.com"
REPORTED = (
    "error: TRAIL06: AIMGENTIX_API_URL (or its argument) must be an address such as https://audit.example.com. "
    + codes.describe(TRAIL_UNDELIVERED).fix
)
INVESTIGATE = ("investigate", "--resource", "checkout")
# What never runs team code is started like this.
WITHOUT_AGENT = ("-I", "agent_runtime/__main__.py")


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines in which something is wrong; there is nothing else on the way of errors."""
    lines = done.stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines), done.stderr
    return lines


# ------------------------------------------------------------------------------------------------- the audit backend


@pytest.mark.parametrize(
    ("variable", "value"),
    [("AIMGENTIX_API_URL", NO_ADDRESS), ("AIMGENTIX_EXIT_TIMEOUT", "soon"), ("AIMGENTIX_BATCH_EVENTS", "0")],
)
def test_what_is_said_of_the_backend_is_not_even_read_where_a_trail_is_written(
    clone: Clone, variable: str, value: str
) -> None:
    done = clone.call(*INVESTIGATE, **{variable: value})
    assert (done.returncode, complaints(done)) == (0, [])
    (journal,) = (clone.root / "agent-run" / "journal").glob("*.jsonl")
    steps = [json.loads(line)["event"]["metadata"]["step"] for line in journal.read_bytes().splitlines()]
    assert steps == ["started", "investigated", "finished"]


def test_an_address_that_is_none_costs_no_action_and_no_trail(clone: Clone) -> None:
    code, said, folder = clone.simulate("--approve", AIMGENTIX_API_URL=NO_ADDRESS)
    assert code == 0, said
    assert clone.world["count"] == 2
    assert outcome_of(folder) == "acted"
    reported = [line.partition("| ")[::2] for line in said.splitlines() if "error: " in line]
    assert [(job.strip(), line) for job, line in reported] == [("deliver", REPORTED)], (
        "no other job is given the address"
    )


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("AIMGENTIX_REDACT_PATTERNS", "(", "redaction pattern '(' is not a regular expression"),
        ("AIMGENTIX_SEGMENT_BYTES", "much", "AIMGENTIX_SEGMENT_BYTES must be a number"),
        ("AGENT_INSTANCE_ID", "x" * 256, "agent_instance_id"),
    ],
)
def test_what_is_wrong_about_the_journal_itself_stops_everything(
    clone: Clone, variable: str, value: str, problem: str
) -> None:
    done = clone.call(*INVESTIGATE, **{variable: value})
    assert done.returncode == codes.EXIT_BAD_INPUT
    (line,) = complaints(done)
    assert line.startswith("error: INP012: " + problem)


# -------------------------------------------------------------------------------------------------------- delivering


@pytest.mark.parametrize(("address", "problem"), [(NO_ADDRESS, "must be an address"), ("", "no backend is configured")])
def test_delivering_by_hand_to_no_address_is_bad_input(clone: Clone, address: str, problem: str) -> None:
    _, _, folder = clone.simulate("--approve")
    done = clone.run(WITHOUT_AGENT, "deliver", str(folder), AIMGENTIX_API_URL=address)
    assert done.returncode == codes.EXIT_BAD_INPUT
    assert "delivered 0" in done.stdout
    (line,) = complaints(done)
    assert line.startswith("error: TRAIL06: ") and problem in line


def test_delivering_by_hand_to_a_dead_backend_fails_and_says_where(clone: Clone) -> None:
    _, _, folder = clone.simulate("--approve")
    address = "http://user:s3cret-s3cret@127.0.0.1:1"
    done = clone.run(WITHOUT_AGENT, "deliver", str(folder), "--timeout", "2", AIMGENTIX_API_URL=address)
    assert done.returncode == codes.EXIT_TRAIL_INCOMPLETE, done.stderr
    (line,) = complaints(done)
    assert "(asked at 127.0.0.1)" in line and "s3cret" not in line


def test_several_bundles_are_delivered_in_one_call(clone: Clone) -> None:
    _, _, first = clone.simulate("--approve")
    second = Path(shutil.copytree(first, clone.root / "second"))
    missing = clone.root / "missing"
    call = (WITHOUT_AGENT, "deliver", str(first), str(missing), str(second), "--timeout", "2")
    with Sink() as sink:
        done = clone.run(*call, AIMGENTIX_API_URL=sink.url)
    (line,) = complaints(done)
    assert (done.returncode, line.startswith(f"error: TRAIL07: {missing / 'bundle.json'}: ")) == (2, True), done
    delivered = [line.partition(": ")[0] for line in done.stdout.splitlines() if "spooled 0, rejected 0" in line]
    assert delivered == [str(first), str(second)], "one that is missing keeps no other back"

    done = clone.run(*call, AIMGENTIX_API_URL="http://127.0.0.1:1")
    (line,) = complaints(done)
    assert (done.returncode, "(asked at 127.0.0.1)" in line) == (codes.EXIT_TRAIL_INCOMPLETE, True), done
    assert done.stdout.splitlines()[-1] == f"not tried: 2 more, from {missing} on"

    # And as the page has it for all runs of an outage.
    page = (TEMPLATE / "docs" / "TROUBLESHOOTING.md").read_text(encoding="utf-8")
    (commands,) = [
        text for text in re.findall(r"^```console\n(.*?)^```$", page, re.DOTALL | re.M) if "bundles/*" in text
    ]
    programs = clone.root / "programs"
    programs.mkdir()
    # Stands for GitHub's program: three runs, one of them without a bundle.
    gh = f"""#!/bin/sh
        case "$2 $3" in
            "list "*) printf '11\\n12\\n13\\n';;
            "download 12") exit 1;;
            "download "*) mkdir -p "$7" && cp -r "{first}/." "$7";;
        esac"""
    (programs / "gh").write_text(gh)
    (programs / "gh").chmod(0o755)
    with Sink() as sink:
        typed = commands.replace("https://audit.example.com", sink.url).replace(".venv/bin/python", sys.executable)
        done = subprocess.run(
            ["sh", "-c", typed],
            cwd=clone.root,
            env={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, ""), done
    delivered = [line.partition(": ")[0] for line in done.stdout.splitlines() if "spooled 0, rejected 0" in line]
    assert delivered == ["bundles/11", "bundles/13"]


@pytest.mark.parametrize("command", ["deliver", "verify"])
def test_a_folder_without_a_bundle_is_named(clone: Clone, command: str) -> None:
    for wrong in (clone.root, clone.root / "nope", clone.root / "agent_runner.py"):
        done = clone.run(WITHOUT_AGENT, command, str(wrong), AIMGENTIX_API_URL="https://audit.invalid")
        assert (done.returncode, done.stdout) == (codes.EXIT_BAD_INPUT, "")
        (line,) = complaints(done)
        assert line.startswith(f"error: TRAIL07: {wrong / 'bundle.json'}: ")
        assert "folder of an unpacked audit-bundle" in line and "not proven" not in line


# ------------------------------------------------------------------------------------------- files, folders and pipes


@pytest.mark.parametrize(
    "arguments", [INVESTIGATE, ("simulate", "--approve", "--resource", "checkout")], ids=lambda each: each[0]
)
@pytest.mark.parametrize("place", ["agent_runner.py", "agent_runner.py/out", "/proc/nowhere/out", "x" * 300])
def test_a_folder_that_can_not_be_used_is_bad_input_before_anything_happens(
    clone: Clone, arguments: tuple[str, ...], place: str
) -> None:
    done = clone.call(*arguments, "--out", place)
    assert (done.returncode, done.stdout) == (codes.EXIT_BAD_INPUT, "")
    (line,) = complaints(done)
    assert line.startswith("error: INP006: --out ") and place in line and "folder" in line


def test_a_job_that_can_not_leave_its_trail_says_so(clone: Clone) -> None:
    (clone.root / "agent-run").mkdir()
    (clone.root / "agent-run" / "journal").write_text("a file")
    done = clone.call(*INVESTIGATE)
    assert done.returncode == codes.EXIT_TRAIL_INCOMPLETE
    (line,) = complaints(done)
    assert line.startswith("error: TRAIL05: ")


def test_a_file_that_is_not_a_part_of_a_trail_is_reported_as_what_it_is(clone: Clone) -> None:
    _, _, folder = clone.simulate("--approve")
    (folder / "act" / "journal").rename(folder / "act" / "moved")
    (folder / "act" / "journal").symlink_to(folder / "act" / "journal")
    done = clone.run(WITHOUT_AGENT, "deliver", str(folder))
    assert done.returncode == codes.EXIT_INTERNAL
    (line,) = complaints(done)
    assert line.startswith("error: RUN005: ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(INVESTIGATE, 0), (("investigate", "--resource", "a b"), 2), (("--help",), 0)],
    ids=["a report", "an error", "help"],
)
def test_a_pipe_that_closes_ends_it_quietly(
    clone: Clone, arguments: tuple[str, ...], expected: int, unbuffered: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [interpreter.python(), "agent_runner.py", *arguments],
            cwd=clone.root,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.returncode == expected or (unbuffered and done.returncode == 141), done.stderr
    assert len(complaints(done)) == (1 if expected == 2 else 0)


# --------------------------------------------------------------------------------------------- outside of a workflow


@pytest.mark.parametrize(
    ("command", "program"),
    [
        *((command, WITHOUT_AGENT) for command in ("start", "seal", "ask", "approve", "claim", "authorize", "record")),
        ("execute", ("agent_runner.py",)),
    ],
)
def test_a_job_of_the_workflow_does_not_run_outside_of_one(
    clone: Clone, command: str, program: tuple[str, ...]
) -> None:
    before = sorted(path.name for path in clone.root.iterdir())
    # Everything else that a job is given is there.
    given = {"TARGET_RESOURCE": "checkout", "APPROVED_DIGEST": "0" * 64, "REPORT_ID": "1", "REPORT_DIGEST": "0" * 64}
    given |= {"NEEDS": "{}", "AGENT_PLAN_FILE": "plan.json"}
    for auto in ([], ["--auto"]) if command == "authorize" else ([],):
        done = clone.run(program, command, *auto, **given)
        assert (done.returncode, done.stdout) == (codes.EXIT_BAD_INPUT, "")
        (line,) = complaints(done)
        assert line.startswith("error: INP005: GITHUB_RUN_ID is not set")
    assert sorted(path.name for path in clone.root.iterdir()) == before
    assert clone.world["count"] == 0


@pytest.mark.threat("T5")
@pytest.mark.parametrize(
    ("program", "offered", "refused"),
    [
        (WITHOUT_AGENT, "seal", ["investigate", "execute"]),
        (
            ("agent_runner.py",),
            "execute",
            ["start", "seal", "ask", "approve", "claim", "authorize", "record", "deliver"],
        ),
    ],
    ids=["without team code", "with team code"],
)
def test_team_code_and_what_decides_are_never_commands_of_one_program(
    clone: Clone, program: tuple[str, ...], offered: str, refused: list[str]
) -> None:
    for command in refused:
        done = clone.run(program, command)
        assert (done.returncode, done.stdout) == (codes.EXIT_BAD_INPUT, "")
        (line,) = complaints(done)
        assert line.startswith("error: INP006: ") and command in line
    assert codes.USAGE not in clone.run(program, offered).stderr


# ------------------------------------------------------------------------------------------------------ missing parts


def own_runtime(clone: Clone) -> None:
    """Let the repository have files of its own instead of those under test."""
    for name in ("agent_runtime", "sdk"):
        (clone.root / name).unlink()
        shutil.copytree(TEMPLATE / name, clone.root / name, ignore=shutil.ignore_patterns("__pycache__"))


def test_without_the_sdk_nothing_begins(clone: Clone) -> None:
    own_runtime(clone)
    shutil.rmtree(clone.root / "sdk")
    done = clone.call("simulate", "--approve", "--resource", "checkout")
    assert (done.returncode, done.stdout) == (codes.EXIT_BAD_INPUT, "")
    (line,) = complaints(done)
    assert line.startswith("error: RUN003: ")


MERGED = "<<<<<<< before updating\nx: 1\n=======\nx: 2\n>>>>>>> after updating\n"
SIMULATE = (("agent_runner.py",), "simulate", "--approve", "--resource", "checkout")
READ_POLICY = (("agent_runner.py",), "policy", "check", "--action", "bump", "--resource", "checkout")


@pytest.mark.parametrize(
    ("name", "line", "call"),
    [
        *(
            ("agent_runtime/gate/policy.py", "CHK007: {}:{}: a conflict marker is left. ", call)
            for call in (SIMULATE, READ_POLICY)
        ),
        ("agent_runtime/results.py", "CHK007: {}:{}: a conflict marker is left. ", SIMULATE),
        ("agent_runtime/cli.py", "CHK007: {}:{}: a conflict marker is left. ", SIMULATE),
        ("agent_runtime/results.py", "CHK007: {}:{}: a conflict marker is left. ", (WITHOUT_AGENT, "check")),
        ("agent_runtime/cli.py", "CHK007: {}:{}: a conflict marker is left. ", (WITHOUT_AGENT, "check")),
        (".github/agent-policies/bumper.yml", "POL002: {} line ", READ_POLICY),
        (".github/agent-config.yml", "INP007: {}: line ", SIMULATE),
    ],
)
def test_a_merge_that_was_left_unfinished_is_one_line_with_its_place(
    clone: Clone, name: str, line: str, call: tuple[Any, ...]
) -> None:
    own_runtime(clone)
    path = clone.root / name
    first = 1 + path.read_text().count("\n")
    path.write_text(path.read_text() + MERGED)
    program, *words = call
    done = clone.run(program, *words)
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr
    (said,) = complaints(done)
    assert said.startswith("error: " + line.format(name, first))


def test_in_the_agents_own_file_python_names_the_place_and_check_says_what_it_is(clone: Clone) -> None:
    """Python can't read it, so nothing of the runtime runs but what starts without it."""
    path = clone.root / "agent_runner.py"
    place = 1 + path.read_text().count("\n")
    path.write_text(path.read_text() + MERGED)
    done = clone.call("simulate", "--approve", "--resource", "checkout")
    assert f'agent_runner.py", line {place}' in done.stderr and "Traceback" not in done.stderr
    checked = clone.run(WITHOUT_AGENT, "check").stderr
    assert f"CHK007: agent_runner.py:{place}: a conflict marker is left. " in checked


def test_a_simulation_that_can_not_record_names_no_bundle(clone: Clone) -> None:
    own_runtime(clone)
    (clone.root / "sdk" / "aimgentix" / "verify.py").unlink()
    code, said, folder = clone.simulate("--approve", AIMGENTIX_API_URL=NO_ADDRESS)
    assert code == codes.EXIT_BAD_INPUT
    assert "record | error: RUN003: " in said and "Traceback" not in said
    assert "there is no trail" in said.splitlines()[-1]
    assert "bundle:" not in said and "deliver |" not in said and not (folder / "bundle.json").exists()


# ------------------------------------------------------------------------------------------------------- the console


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_console_that_has_not_every_sign_costs_signs_and_no_run(clone: Clone, encoding: str) -> None:
    code, said, folder = clone.simulate("--approve", PYTHONIOENCODING=encoding)
    assert code == 0, said
    assert outcome_of(folder) == "acted"
    assert "Traceback" not in said and "UnicodeEncodeError" not in said
