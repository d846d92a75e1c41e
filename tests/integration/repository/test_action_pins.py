"""Every action that is used anywhere in the tree is pinned to the commit that one list names."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from support.environment import REPOSITORY
from tools import action_pins

FILES = action_pins.workflow_files(REPOSITORY)


@pytest.mark.threat("T30")
def test_every_use_is_the_one_that_the_list_names() -> None:
    pins = action_pins.load_pins()
    uses = [use for path in FILES for use in action_pins.find_uses(path)]

    assert [what for use in uses if (what := action_pins.problem(use, pins))] == []
    used_in = {use.path.relative_to(REPOSITORY).parts[0] for use in uses}
    assert used_in == {".github", "template"}
    assert any(use.path.suffix == ".jinja" for use in uses), "rendered workflows are looked at too"


def test_the_list_names_commits_with_their_versions() -> None:
    for action, pin in action_pins.load_pins().items():
        assert re.fullmatch(r"[0-9a-f]{40}", pin["sha"]), action
        assert re.fullmatch(r"v\d+\.\d+\.\d+", pin["version"]), action


SHA = "3d3c42e5aac5ba805825da76410c181273ba90b1"
LIST = {"actions/checkout": {"version": "v7.0.1", "sha": SHA}}


@pytest.mark.parametrize(
    "line, said",
    [
        pytest.param(f"uses: actions/checkout@{SHA} # v7.0.1", None, id="pinned"),
        pytest.param("uses: ./.github/actions/setup-agent", None, id="own action"),
        pytest.param(f"uses: actions/checkout@{SHA}", "should be", id="no version"),
        pytest.param(f"uses: actions/checkout@{SHA} # v7.0.0", "should be", id="wrong version"),
        pytest.param("uses: actions/checkout@v7.0.1", "should be", id="tag"),
        pytest.param(f"uses: other/checkout@{SHA} # v7.0.1", "is not in", id="unknown action"),
    ],
)
def test_a_use_that_differs_is_named(line: str, said: str | None, tmp_path: Path) -> None:
    workflow = tmp_path / "ci.yml"
    workflow.write_text(f"steps:\n  - {line}\n", encoding="utf-8")

    problems = [action_pins.problem(use, LIST) for use in action_pins.find_uses(workflow)]

    assert [bool(what) for what in problems if what] == ([True] if said else [])
    assert said is None or said in str(problems[0])


def test_write_pins_a_tag_and_leaves_the_rest_of_the_file_alone(tmp_path: Path) -> None:
    workflow = tmp_path / "agent.yml.jinja"
    before = "# {{ answer }}\nsteps:\n  - name: x\n    uses: actions/checkout@v6\n  - uses: other/one@v1 # v1\n"
    workflow.write_text(before, encoding="utf-8")

    assert action_pins.write(workflow, LIST)
    assert workflow.read_text(encoding="utf-8") == before.replace("checkout@v6", f"checkout@{SHA} # v7.0.1")
    assert not action_pins.write(workflow, LIST), "a second time changes nothing"


def test_dependabot_watches_every_file_that_it_can_read() -> None:
    updates = yaml.safe_load((REPOSITORY / ".github" / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    watched = [
        pattern
        for update in updates
        if update["package-ecosystem"] == "github-actions"
        for pattern in update["directories"]
    ]
    # A file with an answer in it (*.jinja) is invisible to Dependabot.
    static = {path for path in FILES if path.suffix != ".jinja" and list(action_pins.find_uses(path))}
    folders = {"/" + path.parent.relative_to(REPOSITORY).as_posix() for path in static}

    # For the root, and only for it, Dependabot looks into .github/workflows by itself.
    looked_for = {"/" if folder == "/.github/workflows" else folder for folder in folders}
    assert {"/", "/template/.github/actions/setup-agent"} <= looked_for
    assert [folder for folder in looked_for if not any(fnmatchcase(folder, pattern) for pattern in watched)] == []
