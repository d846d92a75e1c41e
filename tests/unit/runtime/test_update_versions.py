"""Which tags of a template are releases, and in which order: no update goes to a candidate, or back by itself."""

from __future__ import annotations

import pytest

from agent_runtime.local.update.git import git
from agent_runtime.local.update.template import Template


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    folder = tmp_path_factory.mktemp("versions")
    clone = folder / "template"
    clone.mkdir()
    git(clone, "init", "--quiet")
    who = ("-c", "user.name=Us", "-c", "user.email=us@example.com")
    git(clone, *who, "commit", "--quiet", "--allow-empty", "--message", "All of them")
    for tag in ("v0.9.0", "v0.10.0", "0.2", "v1.0.0-rc.1", "v1.0.0b2", "nightly", "v0.10.0-hotfix", "release-2.0"):
        git(clone, "tag", tag)
    return Template("https://example.com/gated-agents", folder)


def test_the_newest_release_is_by_number_and_no_candidate(template: Template) -> None:
    assert template.versions() == ["v0.10.0", "v0.9.0", "0.2"]
    assert template.newest() == "v0.10.0"


@pytest.mark.parametrize(
    ("recorded", "before"),
    [
        ("v0.10.0", ["v0.9.0", "0.2"]),
        ("v0.10.0-3-g1234567", ["v0.10.0", "v0.9.0", "0.2"]),
        ("v0.10", ["v0.9.0", "0.2"]),
        ("v0.2.0", []),
    ],
)
def test_what_is_older_than_a_recorded_version(template: Template, recorded: str, before: list[str]) -> None:
    assert template.before(recorded) == before
