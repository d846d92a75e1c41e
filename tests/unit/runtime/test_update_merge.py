"""What an update makes of one file that the template and the team changed."""

from __future__ import annotations

import pytest

from agent_runtime.local.update.files import EXECUTABLE, LINK, REGULAR, File
from agent_runtime.local.update.merge import ADDED, CONFLICT, KEPT, MERGED, REMOVED, REPLACED, merge
from agent_runtime.local.update.owners import TEMPLATE

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


def test_in_code_neighbouring_lines_are_left_to_a_person_unless_they_are_comments() -> None:
    name, new = "agent_runtime/cli.py", "one\nTWO\nthree\nfour\n"
    assert _merged("one\ntwo\nOURS\nfour\n", new, name=name)[0] == CONFLICT
    assert _merged("one\ntwo\n# OURS\nOURS\nthree\nfour\n", new, name=name)[0] == CONFLICT
    assert _merged("one\n  # OURS\ntwo\nthree\nfour\n", new, name=name) == (
        MERGED,
        "one\n  # OURS\nTWO\nthree\nfour\n",
    )


def _jobs(*machines: str) -> str:
    return "jobs:\n" + "".join(
        f"  job-{number}:\n    name: A job\n    runs-on: {machine}\n    steps: []\n\n"
        for number, machine in enumerate(machines)
    )


def test_the_machine_that_a_team_chose_for_a_job_stays_and_is_named() -> None:
    name = ".github/workflows/agent-report.yml"
    texts = _jobs("old", "old", "old", "old"), _jobs("ours", "old", "ours", "new"), _jobs("new", "new", "old", "new")
    then, ours, now = ({name: File(REGULAR, text.encode())} for text in texts)

    merged = merge(then, ours, now, lambda _: TEMPLATE)

    assert merged.files[name] == File(REGULAR, _jobs("ours", "new", "ours", "new").encode())
    assert (merged.changes[0].kind, merged.changes[0].note) == (MERGED, "runs-on stays as it is here: job-0")
    assert _merged(_jobs("ours"), "jobs: {}\n", _jobs("old"), name)[0] == CONFLICT, "the job is gone"


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


def _one(owner: str, *sides: File | str | None, name: str = "docs/PAGE.md") -> tuple[str, File | None]:
    """What happens to one file, given then, here and now, and what it is afterwards."""
    files = [File(REGULAR, side.encode()) if isinstance(side, str) else side for side in sides]
    then, ours, now = ({name: file} if file else {} for file in files)
    merged = merge(then, ours, now, lambda _: owner)
    (change,) = merged.changes
    assert merged.sides == ({name: tuple(files)} if change.kind == CONFLICT else {})
    return change.kind, merged.files.get(name, files[1])


@pytest.mark.parametrize(
    ("owner", "then", "here", "now", "kind", "after"),
    [
        ("team", "a", "a", "b", KEPT, "a"),
        ("team", "a", None, "b", KEPT, None),
        ("team", None, "ours", "b", KEPT, "ours"),
        ("team", None, None, "b", KEPT, None),
        ("team", "a", "a", None, KEPT, "a"),
        ("template", "a", None, "b", REPLACED, "b"),
        ("both", "a", None, "b", KEPT, None),
        ("both", None, None, "b", ADDED, "b"),
        ("both", "a", "a", None, REMOVED, None),
        ("both", "a", "ours", None, CONFLICT, "ours"),
        ("both", None, "ours", "b", CONFLICT, "ours"),
        ("both", "a", "b", "b", KEPT, "b"),
    ],
)
def test_whose_a_file_is_decides_before_its_lines(
    owner: str, then: str | None, here: str | None, now: str | None, kind: str, after: str | None
) -> None:
    found = _one(owner, then, here, now)

    assert found == (kind, None if after is None else File(REGULAR, after.encode()))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("requirements-agent.in", ADDED), (".github/actions/prepare-act/action.yml", ADDED), ("tests/policy.yml", KEPT)],
)
def test_of_the_teams_files_only_those_come_later_that_the_workflow_needs(name: str, kind: str) -> None:
    assert _one("team", None, None, "b", name=name) == (kind, File(REGULAR, b"b") if kind == ADDED else None)


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize(("mode", "byte"), [(LINK, b""), (REGULAR, b"\0")])
def test_what_has_no_lines_is_left_to_a_person(at: int, mode: str, byte: bytes) -> None:
    sides = [File(REGULAR, text) for text in (b"a\nb\nc\nd\ne\n", b"A\nb\nc\nd\ne\n", b"a\nb\nc\nd\nE\n")]
    assert _one("both", *sides)[0] == MERGED
    sides[at] = File(mode, sides[at].data.replace(b"c", b"c" + byte))

    assert _one("both", *sides) == (CONFLICT, sides[1])


def test_each_side_may_make_a_file_a_program() -> None:
    for ours, now in ((EXECUTABLE, REGULAR), (REGULAR, EXECUTABLE)):
        sides = File(REGULAR, b"a\nb\n"), File(ours, b"a\nb\nx\n"), File(now, b"n\na\nb\n")
        assert _one("both", *sides) == (MERGED, File(EXECUTABLE, b"n\na\nb\nx\n"))


@pytest.mark.parametrize(
    ("then", "here", "now", "after"),
    [
        ("a\nb\n", "a\r\nb\r\n", "n\na\nb\n", "n\na\nb\n"),
        ("a\r\nb\r\n", "a\r\nb\r\nx\r\n", "n\r\na\r\nb\r\n", "n\r\na\r\nb\r\nx\r\n"),
    ],
)
def test_the_line_endings_are_the_templates(then: str, here: str, now: str, after: str) -> None:
    assert _one("both", then, here, now) == (MERGED, File(REGULAR, after.encode()))


def _pinned(*pins: tuple[str, str]) -> str:
    return "".join(f"uses: acme/{number}@{commit * 40} # {version}\n" for number, (commit, version) in enumerate(pins))


def test_of_two_pins_the_newer_one_stays_action_by_action() -> None:
    then = _pinned(("a", "v1.9"), ("a", "v1.9"), ("a", "v1.9"))
    here = _pinned(("b", "v1.10"), ("b", "v1.10"), ("a", "v1.9"))
    now = _pinned(("c", "v1.9.1"), ("c", "v2"), ("c", "v2"))

    assert _one("both", then, here, now) == (
        MERGED,
        File(REGULAR, _pinned(("b", "v1.10"), ("c", "v2"), ("c", "v2")).encode()),
    )


def test_a_tick_stays_and_one_whose_line_is_gone_is_named() -> None:
    name = "PRODUCTION_CHECKLIST.md"
    texts = "- [ ] one\n- [ ] two\n", "- [x] one\n- [x] two\n", "- [ ] zero\n- [ ] one\n- [ ] 2\n"
    then, ours, now = ({name: File(REGULAR, text.encode())} for text in texts)
    merged = merge(then, ours, now, lambda _: "both")

    assert merged.files[name] == File(REGULAR, b"- [ ] zero\n- [x] one\n- [ ] 2\n")
    assert merged.changes[0].note == "ticked here, and reworded in the release: - [ ] two"


@pytest.mark.parametrize(
    ("here", "now", "after"),
    [
        ("/a @us\n/b @us\n/x @ours\n", "/a @us\n/b @us\n/c @us\n", "/a @us\n/b @us\n/c @us\n/x @ours\n"),
        ("/a @us @more\n/b @us\n", "/a @us\n/b @new\n", "/a @us @more\n/b @new\n"),
        ("/a @us\n/b @us\n/c @ours\n", "/a @us\n/b @us\n/c @us\n", "/a @us\n/b @us\n/c @ours\n"),
        ("/a @us @more\n/b @us\n", "/a @new\n/b @us\n", None),
    ],
)
def test_of_code_owners_each_line_is_about_a_path(here: str, now: str, after: str | None) -> None:
    kind, found = _one("both", "/a @us\n/b @us\n", here, now, name=".github/CODEOWNERS")

    assert kind == (CONFLICT if after is None else MERGED)
    assert after is None or (found and found.data.decode()) == after


def test_the_answers_are_the_releases() -> None:
    assert _one("team", "a", "ours", "b", name=".copier-answers.yml") == (REPLACED, File(REGULAR, b"b"))
