"""The threat model names every threat once, and the tests that it names are there and try what it says."""

from __future__ import annotations

import re
from functools import cache

import pytest

from agent_runtime import codes
from support.environment import REPOSITORY
from tools import codes as codes_page
from tools import threats
from tools.threats import Threat

TEXT = threats.MODEL.read_text(encoding="utf-8")
THREATS = threats.read_threats(TEXT)
NUMBERS = [f"T{number}" for number in range(1, 18)] + ["T17b"] + [f"T{number}" for number in range(18, 41)]


marked_tests = cache(threats.marked_tests)  # it reads every test


def by_number(threat: Threat) -> str:
    return threat.number


def test_every_threat_is_there_once_and_in_order() -> None:
    assert [threat.number for threat in THREATS] == NUMBERS


@pytest.mark.parametrize("threat", THREATS, ids=by_number)
def test_every_threat_has_its_parts(threat: Threat) -> None:
    assert list(threat.parts) == ["Verdict", "Defence", "Yours"]
    assert threat.parts["Verdict"] in threats.VERDICTS
    assert all(threat.parts.values()), "no part is empty"
    # What is left to the team is said, unless nothing is.
    assert threat.parts["Verdict"] == "stopped" or threat.parts["Yours"] != "nothing."


@pytest.mark.parametrize("threat", THREATS, ids=by_number)
def test_what_software_stops_has_a_test_that_tries_it(threat: Threat) -> None:
    assert bool(marked_tests().get(threat.number)) == (threat.parts["Verdict"] != "yours")


def test_no_test_tries_a_threat_that_is_not_in_the_model() -> None:
    assert set(marked_tests()) <= set(NUMBERS)


def test_the_page_lists_the_tests_as_they_are_marked() -> None:
    assert threats.PAGE.read_text(encoding="utf-8") == threats.render(THREATS, marked_tests())


def test_what_once_got_through_is_tried_by_tests_of_its_threat() -> None:
    marked = marked_tests()
    missing = [
        (number, test) for _, number, tests in threats.GOT_THROUGH for test in tests if test not in marked[number]
    ]
    assert missing == []


def test_codes_and_files_that_it_names_exist() -> None:
    codes_page.render()  # registers the codes of every module
    named = set(re.findall(r"`([A-Z]{2,5}\d{2,3})`", TEXT))
    assert named and named <= set(codes.registered())
    files = set(re.findall(r"`((?:agent_runtime|sdk)/[\w/.]+)`", TEXT))
    assert files and [name for name in files if not (REPOSITORY / "template" / name).is_file()] == []


def test_every_control_of_the_chapter_is_judged_once() -> None:
    page = (REPOSITORY / "docs" / "reference" / "aisvs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (9\.\d+\.\d+) \| .+ \| ([123]) \| (\w+) \| (.+) \|$", page, flags=re.MULTILINE)
    counts = {1: 3, 2: 10, 3: 8, 4: 4, 5: 6, 6: 3}  # OWASP AISVS 1.0, chapter C9
    assert [row[0] for row in rows] == [f"9.{part}.{n}" for part, last in counts.items() for n in range(1, last + 1)]
    assert {row[2] for row in rows} <= {"held", "partly", "no"}
    assert {number for row in rows for number in re.findall(r"\bT\d+b?\b", row[3])} <= set(NUMBERS)
