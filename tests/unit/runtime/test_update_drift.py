"""A pin that Dependabot renewed does not count as drift, and nothing that only looks like one."""

from __future__ import annotations

import pytest

from agent_runtime.local.update.drift import is_renewed

OLD, NEW = "a" * 40, "b" * 40
PINNED = f"- uses: actions/checkout@{OLD} # v1.0.0\n- run: make\n"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (f"{OLD} # v1.0.0", f"{NEW} # v1.0.1", True),
        (f"{OLD} # v1.0.0", f"{NEW} # v1.0.0", False),  # another commit behind the same version
        (f"{OLD} # v1.0.0", f"{OLD} # v1.0.1", False),  # another version before the same commit
        (f"{OLD} # v1.0.0", NEW, False),  # no version that a reviewer could look up
        (f"{OLD} # v1.0.0", "v1.0.1", False),
        ("actions/checkout", "acme/checkout", False),
        ("make", "make all", False),
    ],
)
def test_only_a_commit_and_its_version_may_be_others(old: str, new: str, expected: bool) -> None:
    assert is_renewed(PINNED.encode(), PINNED.replace(old, new).encode()) is expected


def test_what_else_an_edit_changes_counts() -> None:
    renewed = PINNED.replace(f"{OLD} # v1.0.0", f"{NEW} # v1.0.1")
    assert is_renewed(PINNED.encode(), renewed.encode())
    assert not is_renewed(PINNED.encode(), renewed.replace("make", "make all").encode())
    assert not is_renewed(PINNED.encode(), (renewed + PINNED).encode())
