"""Job outputs: read back by the rules of the runner, whatever the values are (threat T5)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.github import outputs
from agent_runtime.local.simulate import jobs

names = st.from_regex(r"[a-z][a-z_]{0,12}", fullmatch=True)
printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


@pytest.mark.threat("T5")
@given(st.dictionaries(names, printable, max_size=6))
def test_outputs_are_read_back_as_they_were(values: dict[str, str]) -> None:
    assert jobs.parse_outputs(outputs.format_outputs(values)) == values


@pytest.mark.threat("T5")
@given(printable, st.characters(max_codepoint=0x1F) | st.characters(min_codepoint=0x7F))
def test_a_value_that_is_not_printable_ascii_is_refused(value: str, bad: str) -> None:
    with pytest.raises(ValueError, match="not printable ASCII"):
        outputs.format_outputs({"decision": value + bad})


def test_the_delimiter_does_not_give_away_that_of_the_next(tmp_path: Path) -> None:
    target = tmp_path / "output"
    delimiters = []
    for _ in range(2):
        outputs.write_outputs({"GITHUB_OUTPUT": str(target)}, {"decision": "review", "action": "restart"})
        delimiters += [line.partition("<<")[2] for line in target.read_text().splitlines() if "<<" in line]
    assert len(set(delimiters)) == len(delimiters) == 4


@pytest.mark.threat("T3", "T5")
def test_what_others_wrote_is_gone(tmp_path: Path) -> None:
    names = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE")
    environ = {name: str(tmp_path / name) for name in names}
    for path in environ.values():
        Path(path).write_text("forged=1\n")
    outputs.write_outputs(environ, {"decision": "review"})
    outputs.write_summary(environ, "# Report")
    assert jobs.parse_outputs(Path(environ["GITHUB_OUTPUT"]).read_text()) == {"decision": "review"}
    assert Path(environ["GITHUB_STEP_SUMMARY"]).read_text() == "# Report"

    outputs.discard(environ)
    assert [Path(path).read_text() for path in environ.values()] == [""] * 5


def test_outside_a_workflow_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outputs.write_outputs({}, {"decision": "review"})
    outputs.write_summary({}, "# Report")
    assert list(tmp_path.iterdir()) == []
