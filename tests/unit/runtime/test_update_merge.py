"""What an update makes of one file that the template and the team changed."""

from __future__ import annotations

import pytest

from agent_runtime.local.update.files import REGULAR, File
from agent_runtime.local.update.merge import CONFLICT, MERGED, merge

OLD = "one\ntwo\nthree\nfour\n"


def _merged(here: str, new: str, old: str = OLD, name: str = "README.md") -> tuple[str, str]:
    then, ours, now = ({name: File(REGULAR, text.encode())} for text in (old, here, new))
    merged = merge(then, ours, now, lambda _: "both")
    result = merged.files.get(name)
    return merged.changes[0].kind, result.data.decode() if result else here


@pytest.mark.parametrize(
    ("here", "new", "expected"),
    [
        ("one\nOURS\ntwo\nthree\nfour\n", "one\nTWO\nthree\nfour\n", "one\nOURS\nTWO\nthree\nfour\n"),
        ("one\ntwo\nOURS\nthree\nfour\n", "one\nTWO\nthree\nfour\n", "one\nTWO\nOURS\nthree\nfour\n"),
        ("one\ntwo\nOURS\nfour\n", "one\nTWO\nthree\nfour\n", "one\nTWO\nOURS\nfour\n"),
        ("one\nOURS\nthree\nfour\n", "one\ntwo\nfour\n", "one\nOURS\nfour\n"),
        ("one\ntwo\nthree\nfour\nOURS\n", "one\ntwo\nthree\n", "one\ntwo\nthree\nOURS\n"),
        ("ONE\nTWO\nthree\nfour\n", "ONE\nTWO\nthree\nFOUR\n", "ONE\nTWO\nthree\nFOUR\n"),
    ],
)
def test_changes_of_neighbouring_lines_are_no_conflict(here: str, new: str, expected: str) -> None:
    assert _merged(here, new) == (MERGED, expected)
    assert _merged(new, here) == (MERGED, expected)


@pytest.mark.parametrize(
    ("here", "new"),
    [
        ("one\nOURS\nthree\nfour\n", "one\nTWO\nthree\nfour\n"),
        ("one\nthree\nfour\n", "one\nTWO\nthree\nfour\n"),
        ("one\nOURS\nfour\n", "one\ntwo\nNEW\nthree\nfour\n"),
        ("one\ntwo\nOURS\nthree\nfour\n", "one\ntwo\nNEW\nthree\nfour\n"),
    ],
)
def test_changes_of_the_same_line_are_a_conflict(here: str, new: str) -> None:
    for kind, text in (_merged(here, new), _merged(new, here)):
        assert kind == CONFLICT
        assert "<<<<<<< here" in text


def test_in_code_neighbouring_lines_are_left_to_a_person() -> None:
    assert _merged("one\ntwo\nOURS\nfour\n", "one\nTWO\nthree\nfour\n", name="agent_runtime/cli.py")[0] == CONFLICT


def _page(top: str, part: str, end: str = "") -> str:
    return f"{top}\n<!-- template:begin: theirs -->\n{part}\n<!-- template:end -->\n{end}"


@pytest.mark.parametrize(
    ("here", "new", "expected"),
    [
        (_page("OURS", "a"), _page("NEW", "a"), _page("OURS", "a")),
        (_page("top", "a", "OURS\n"), _page("NEW", "b", "NEW\n"), _page("NEW", "b", "OURS\n")),
        (_page("OURS", "a\nours"), _page("NEW", "new\na"), _page("OURS", "new\na\nours")),
        (_page("OURS", "a"), "top\na\nnew\n", "OURS\na\nnew\n"),
    ],
)
def test_a_page_has_a_part_of_the_template_and_one_of_the_team(here: str, new: str, expected: str) -> None:
    assert _merged(here, new, _page("top", "a")) == (MERGED, expected)


def test_in_the_part_of_the_template_the_same_line_is_a_conflict() -> None:
    kind, text = _merged(_page("OURS", "ours"), _page("NEW", "new"), _page("top", "a"))
    assert kind == CONFLICT
    assert text.startswith("OURS\n<!-- template:begin: theirs -->\n<<<<<<< here\nours\n")


@pytest.mark.parametrize(
    ("asked", "lock", "expected"),
    [
        (("a", "a", "a"), ("1", "1", "2"), "2"),
        (("a", "a", "a"), ("1", "ours", "2"), "ours"),
        (("a", "a\nb", "a"), ("1", "1", "2"), "1"),
        (("a", "a", "b"), ("1", "1", "2"), "1"),  # for an agent that is another one now
    ],
)
def test_a_lock_that_nobody_wrote_anew_follows(
    asked: tuple[str, str, str], lock: tuple[str, str, str], expected: str
) -> None:
    texts = {"requirements-agent.in": asked, "requirements-agent.lock": lock}
    then, ours, now = ({name: File(REGULAR, text[at].encode()) for name, text in texts.items()} for at in range(3))

    merged = merge(then, ours, now, lambda _: "team")

    assert {**ours, **merged.files}["requirements-agent.lock"] == File(REGULAR, expected.encode())
    assert "requirements-agent.in" not in merged.files
