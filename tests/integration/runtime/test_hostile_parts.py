"""Nothing that the agent's machines leave keeps a run from being recorded and verified, or makes a bad one good."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.gate import bundle, offline
from agent_runtime.gate.bundle import TrailProblem, contradiction
from agent_runtime.gate.record import Ending
from agent_runtime.model import names
from support import examples
from support.gate_world import REPOSITORY, GateWorld, close_the_gate, make_root, whole_run
from support.github import FullGitHub
from support.strategies import hostile_text, json_values

Files = Mapping[str, bytes]


@dataclass
class Hijacked:
    """A run that acted, of which one of the agent's machines leaves something else than it did."""

    world: GateWorld
    needs: dict[str, Any]
    files: dict[str, dict[str, bytes]]

    def record(self, job: str, files: Files) -> Ending:
        """Record the run with these files in place of those of a job."""
        needs = json.loads(json.dumps(self.needs))
        output = {"investigate": "investigation", "act": "result"}[job]
        id, digest = self.world.upload("left", files)
        needs[job]["outputs"].update({output + "_id": id, output + "_digest": digest})
        shutil.rmtree(self.world.folder("record"), ignore_errors=True)
        return self.world.record(needs)

    def journal(self, job: str) -> str:
        """The name of a job's journal."""
        (name,) = [name for name in self.files[job] if name.endswith(".jsonl")]
        return name


@pytest.fixture(scope="module")
def hijacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hijacked]:
    """One run of two steps that bob approved."""
    with FullGitHub(REPOSITORY) as github:
        close_the_gate(github)
        world = GateWorld(make_root(tmp_path_factory.mktemp("run") / "repository"), github)
        needs = whole_run(world, examples.step(), examples.step(action="warm_cache"))
        folders = {
            "investigate": world.folder("investigate") / names.DEFAULT_OUT,
            "act": world.folder("act") / names.EXECUTE_OUT,
        }
        files = {
            job: {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
            for job, out in folders.items()
        }
        yield Hijacked(world, needs, files)


def judge(hijacked: Hijacked, ending: Ending) -> None:
    """Everything of the record is there, can be shown, and `verify` finds a bundle bad where `record` did."""
    page = hijacked.world.page("record")
    assert page.startswith("# The run ended: ")
    assert len(page) < 100_000
    expected = {"outcome": str(ending.outcome), "bundle_digest": ending.digest, "acted": "true"}
    assert hijacked.world.outputs("record") == expected
    manifest, problems = offline.verify(ending.folder)
    assert manifest["problems"] == [problem.line() for problem in ending.problems]
    assert bool(problems) == bool(ending.problems), (ending.problems, problems)
    assert all(problem.message.isprintable() and len(problem.message) < 10_000 for problem in problems)


def without(files: Files, name: str) -> dict[str, bytes]:
    return {key: data for key, data in files.items() if key != name}


def every(field: bytes, value: bytes) -> Callable[[bytes], bytes]:
    """Replace the value of a text field in every line."""
    return lambda data: re.sub(b'"%s":"[^"]*"' % field, lambda _: b'"%s":%s' % (field, value), data)


# What is in the lines of a journal: whoever writes it can also chain it.
LINES: dict[str, Callable[[bytes], bytes]] = {
    "60,000 lines of nothing": lambda data: b"x\n" * 60_000,
    "a line of a megabyte": lambda data: b"x" * 1_200_000 + b"\n",
    "no newline at all": lambda data: data.replace(b"\n", b""),
    "nothing": lambda data: b"",
    "zeros": lambda data: bytes(4096),
    "twice the same": lambda data: data + data,
    "upside down": lambda data: b"\n".join(reversed(data.splitlines())) + b"\n",
    "a job's name of a megabyte": every(b"job", b'"' + b"y" * 1_200_000 + b'"'),
    "a lone surrogate in a job's name": every(b"job", b'"\\ud800"'),
    "a lone surrogate in a digest": every(b"plan_digest", b'"\\ud800"'),
    "a lone surrogate in an action": every(b"action", b'"\\udfff"'),
    "a way to write on a terminal": every(b"job", b'"\\u001b[2J\\u202e::error::x"'),
    "the year 1, far in the east": every(b"timestamp", b'"0001-01-01T00:00:00+10:00"'),
    "the year 9999, far in the west": every(b"timestamp", b'"9999-12-31T23:59:59-10:00"'),
    "no such day": every(b"timestamp", b'"2026-02-30T00:00:00Z"'),
    "a latency of 400 digits": lambda data: data.replace(b'"latency_ms":null', b'"latency_ms":1' + b"0" * 400),
    "a number of 10,000 digits": every(b"job", b"9" * 10_000),
    "steps that are not text": every(b"step", b"[]"),
    "checks that are objects": every(b"step", b'{"check":{}}'),
    "a job that is a list": every(b"job", b"[[]]"),
    "a run context that is none": lambda data: re.sub(rb'"gha":\{[^}]*\}', b'"gha":"x"', data),
    "metadata that are none": lambda data: re.sub(rb'"metadata":\{.*\}\}', b'"metadata":[]}', data),
    **{
        f"{field.decode()} nested {depth} deep": every(field, b"[" * depth + b"]" * depth)
        for field in (b"plan_digest", b"job", b"action")
        for depth in (400, 900, 950, 970, 5_000, 200_000)
    },
}


@pytest.mark.threat("T4", "T36")
@pytest.mark.parametrize("job", ["investigate", "act"])
@pytest.mark.parametrize("name", LINES)
def test_no_journal_of_the_agents_keeps_a_run_from_being_recorded(hijacked: Hijacked, job: str, name: str) -> None:
    files, journal = hijacked.files[job], hijacked.journal(job)
    judge(hijacked, hijacked.record(job, {**files, journal: LINES[name](files[journal])}))


@pytest.mark.threat("T4", "T36")
@pytest.mark.parametrize(
    "change",
    [
        lambda files, journal, document: {},
        lambda files, journal, document: {"x": b""},
        lambda files, journal, document: without(files, journal),
        lambda files, journal, document: without(files, document),
        lambda files, journal, document: {**without(files, journal), "journal": b"a file"},
        lambda files, journal, document: {**without(files, journal), "journal/readme.txt": b"x"},
        lambda files, journal, document: {**files, "journal/deep.jsonl/x": b"a folder"},
        lambda files, journal, document: {**files, "journal/-.jsonl": files[journal]},
        lambda files, journal, document: {**files, "journal/more.jsonl": files[journal]},
        lambda files, journal, document: {**without(files, document), document + "/x": b"a folder"},
        lambda files, journal, document: {**files, "bundle.json": b"{}", "seal/investigation-report.json": b"{}"},
        lambda files, journal, document: {**files, document: b"\xff" + files[document]},
        lambda files, journal, document: {**files, document: files[document] * 2},
        lambda files, journal, document: {**files, document: b"[" * 200_000},
        lambda files, journal, document: {**files, document: files[document].replace(b"checkout", b"\\ud800")},
        lambda files, journal, document: {**files, "../../verify/authorization.json": b"{}"},
        lambda files, journal, document: {**files, "/etc/x": b"{}"},
        lambda files, journal, document: {**files, "a\\b\u202e.json": b"{}"},
        lambda files, journal, document: {**files, **{f"{number}.txt": b"" for number in range(300)}},
    ],
)
@pytest.mark.parametrize("job", ["investigate", "act"])
def test_no_files_of_the_agents_keep_a_run_from_being_recorded(
    hijacked: Hijacked, job: str, change: Callable[[Files, str, str], Files]
) -> None:
    files = hijacked.files[job]
    document = {"investigate": names.INVESTIGATION_NAME, "act": names.RESULT_NAME}[job]
    ending = hijacked.record(job, change(files, hijacked.journal(job), document))
    judge(hijacked, ending)
    assert {path.name for path in ending.folder.iterdir()} <= {*bundle.FOLDERS, names.MANIFEST_NAME}
    assert (ending.folder / "verify" / names.AUTHORIZATION_NAME).read_bytes() != b"{}"


@pytest.mark.threat("T4", "T36")
def test_a_result_of_many_long_steps_is_recorded_in_few_words(hijacked: Hijacked) -> None:
    document = json.loads(hijacked.files["act"][names.RESULT_NAME])
    for steps in (
        [{**document["steps"][0], "action": "a" * 900_000}],
        [{**document["steps"][0], "action": f"step_{number}"} for number in range(4_000)],
    ):
        document["steps"] = steps
        data = json.dumps(document).encode()
        judge(hijacked, hijacked.record("act", {**hijacked.files["act"], names.RESULT_NAME: data}))


@pytest.mark.threat("T4", "T36")
def test_whatever_value_stands_anywhere_in_what_the_agent_leaves(hijacked: Hijacked) -> None:
    @settings(max_examples=30)
    @given(st.data())
    def change(data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted(hijacked.files)))
        files, name = hijacked.files[job], hijacked.journal(job)
        lines = files[name].splitlines()
        number = data.draw(st.integers(0, len(lines) - 1))
        head, _, event = lines[number].partition(b'"event":')
        document = json.loads(event[:-1])
        place = data.draw(st.sampled_from([document, document["metadata"], document["metadata"]["gha"]]))
        place[data.draw(st.sampled_from(sorted(place)) | hostile_text)] = data.draw(json_values)
        text = json.dumps(document, separators=(",", ":"))
        lines[number] = head + b'"event":' + text.encode() + b"}"
        judge(hijacked, hijacked.record(job, {**files, name: b"\n".join(lines) + b"\n"}))

    change()


@pytest.mark.threat("T36")
def test_the_agents_files_change_nothing_of_what_the_others_say(hijacked: Hijacked) -> None:
    """A bundle whose authorization is gone stays bad, however many events and documents the agent's machines add."""
    files = dict(hijacked.files["act"])
    verified = hijacked.world.folder("act") / names.DEFAULT_OUT
    for path in verified.rglob("*"):
        if path.is_file():
            files.setdefault(path.relative_to(verified).as_posix(), path.read_bytes())
    files["approval-receipt.json"] = b"{}"
    needs = json.loads(json.dumps(hijacked.needs))
    del needs["act"]["outputs"]["authorization_id"]
    ending = Hijacked(hijacked.world, needs, hijacked.files).record("act", files)
    said = [problem.message for problem in ending.problems]
    assert {"no authorization", "verify: no event authorized"} <= set(said)
    assert offline.verify(ending.folder)[1]


# How problems are reported.


@pytest.mark.threat("T4", "T36")
@given(st.lists(st.tuples(st.sampled_from(["act: ", "investigate: ", "verify: ", ""]), hostile_text), max_size=120))
def test_problems_are_few_short_and_visible_and_the_agents_come_last(found: list[tuple[str, str]]) -> None:
    shown = bundle.presentable([contradiction(start + text) for start, text in found])
    assert bool(shown) == bool(found)
    assert len(shown) <= 51
    assert all(problem.message.isprintable() for problem in shown)
    own = [start in ("act: ", "investigate: ") or text.startswith(("act: ", "investigate: ")) for start, text in found]
    reported = [
        problem.message.startswith(("act: ", "investigate: "))
        for problem in shown
        if "more problems" not in problem.message
    ]
    assert reported == sorted(reported)
    assert reported.count(False) >= min(50, own.count(False))


def test_problems_that_are_not_listed_are_counted() -> None:
    problems = [TrailProblem(codes.TRAIL_BROKEN, f"act: {number}") for number in range(80)]
    shown = bundle.presentable([*problems, contradiction("no receipt")])
    assert [problem.message for problem in shown[:2]] == ["no receipt", "act: 0"]
    assert shown[-1].message == "31 more problems are not listed"


# Reading what is not there.


def test_a_folder_without_anything_is_a_run_without_anything(tmp_path: Path) -> None:
    parts = bundle.load(tmp_path, by_comment=False)
    assert (parts.report, parts.result, parts.problems, parts.heads) == (None, None, (), {})
    assert bundle.load(tmp_path / "nowhere", by_comment=True).events == {}


def test_every_part_is_decoded_strictly_and_named(tmp_path: Path) -> None:
    for job, name in (
        ("seal", names.REPORT_NAME),
        ("approve", names.RECEIPT_NAME),
        ("verify", names.AUTHORIZATION_NAME),
        ("act", names.RESULT_NAME),
    ):
        (tmp_path / job).mkdir()
        (tmp_path / job / name).write_text('{"schema_version": 1}')
    problems = bundle.load(tmp_path, by_comment=False).problems
    assert [problem.code for problem in problems] == [codes.REPORT_SCHEMA] * 4
    assert [problem.message.split(":")[0] for problem in problems] == [
        f"approve/{names.RECEIPT_NAME}",
        f"seal/{names.REPORT_NAME}",
        f"verify/{names.AUTHORIZATION_NAME}",
        f"act/{names.RESULT_NAME}",
    ]
