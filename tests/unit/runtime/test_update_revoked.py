"""Whether a release is revoked, by the template's list: whatever names it counts, its tag as well as its commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_runtime.codes import BadInput
from agent_runtime.local.update import problems, releases
from agent_runtime.local.update.git import git, line
from agent_runtime.local.update.template import Template

ELSEWHERE = "b" * 40


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template of two releases, both of which say that nothing is revoked; each test commits a list of its own."""
    folder = tmp_path_factory.mktemp("revoked")
    clone = folder / "template"
    clone.mkdir()
    git(clone, "init", "--quiet")
    for tag in ("v1.0.0", "v1.1.0"):
        (clone / releases.LIST).write_text(f"# {tag}\n", encoding="utf-8")
        _commit(clone)
        git(clone, "tag", tag)
    return Template("https://example.com/gated-agents", folder)


def _commit(clone: Path) -> None:
    who = ("-c", "user.name=Us", "-c", "user.email=us@example.com")
    git(clone, "add", "--all")
    git(clone, *who, "commit", "--quiet", "--message", "List")


def entry(version: str, commit: str, *more: str) -> str:
    return "\n".join(["[[release]]", f'version = "{version}"', f'commit = "{commit}"', *more, ""])


WHY = 'revoked = "its gate can be bypassed"'
BYPASSED = "its gate can be bypassed"


@pytest.mark.parametrize(
    ("listed", "asked", "why"),
    [
        ([("v1.1.0", "{second}", WHY)], ("v1.1.0", "{second}"), BYPASSED),
        ([("v1.1.0", ELSEWHERE, WHY)], ("v1.1.0",), BYPASSED),  # somebody moved the tag
        ([("1.1.0", ELSEWHERE, WHY)], ("v1.1.0",), BYPASSED),
        ([("v9.9.9", "{second}", WHY)], ("v1.1.0", "{second}"), BYPASSED),
        ([("v1.1.0", "{second}"), ("v1.1.0", "{second}", WHY)], ("v1.1.0",), BYPASSED),
        ([("v1.1.0", "{second}", WHY), ("v1.1.0", "{second}")], ("v1.1.0",), BYPASSED),
        ([("v1.0.0", "{second}"), ("v1.1.0", ELSEWHERE, WHY)], ("v1.1.0",), BYPASSED),  # its commit is another's
        ([("v1.1.0", "{second}", 'revoked = ""')], ("v1.1.0",), "releases.toml gives no reason"),
        ([("v1.1.0", "{second}", WHY), ("v1.0.0", "{first}")], ("v1.0.0", "{first}", "HEAD"), ""),
    ],
)
def test_any_entry_that_names_a_release_revokes_it(
    template: Template, listed: list[tuple[str, ...]], asked: tuple[str, ...], why: str
) -> None:
    commits = {
        name: line(template.clone, "rev-parse", tag) for name, tag in (("first", "v1.0.0"), ("second", "v1.1.0"))
    }
    text = "".join(entry(*(part.format(**commits) for part in each)) for each in listed)
    (template.clone / releases.LIST).write_text(text, encoding="utf-8")
    _commit(template.clone)

    assert {releases.revoked(template, version.format(**commits)) for version in asked} == {why}


def test_a_template_without_a_list_revokes_nothing_and_a_broken_one_is_no_list(template: Template) -> None:
    (template.clone / releases.LIST).write_text('revoked = "all of them"\n', encoding="utf-8")
    _commit(template.clone)
    with pytest.raises(BadInput) as refused:
        releases.revoked(template, "v1.1.0")
    assert refused.value.code == problems.NO_LIST
    (template.clone / releases.LIST).unlink()
    _commit(template.clone)
    assert releases.revoked(template, "v1.1.0") == ""
