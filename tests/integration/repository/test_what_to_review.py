"""*What to review* lists what the deciding jobs load, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from support.environment import REPOSITORY
from tools import decides, review

PAGE = REPOSITORY / "template" / "specs" / "what-to-review.md"


def test_the_page_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / "review.py"), "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_its_sums_are_those_of_the_modules_that_decide() -> None:
    page = PAGE.read_text(encoding="utf-8")
    groups = [int(count.replace(",", "")) for count in re.findall(r"([\d,]+) lines\.\n\n\| module", page)]
    rows = re.findall(r"^\| \[`.+?`\]\(.+?\)(?: \(\w+ gate\))? \| (\d+) \|", page, re.MULTILINE)
    assert len(groups) == len(review.GROUPS) and sum(groups) == sum(map(int, rows))
    for gate in decides.OTHERS:
        assert f"{sum(decides.reached(gate).values()):,} lines where the gate is an {gate}" in page


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a module without a group": (lambda modules: modules.pop("agent_runtime.gate.seal"), "agent_runtime.gate.seal"),
    "a group that names what no deciding job loads": (
        lambda modules: modules.update({"agent_runtime.local.doctor": ""}),
        "agent_runtime.local.doctor",
    ),
    "an unknown threat": (lambda modules: modules.update({"agent_runtime.gate.seal": "T99"}), "T99"),
}


@pytest.mark.parametrize(("change", "named"), CHANGES.values(), ids=CHANGES)
def test_a_list_that_differs_from_what_is_loaded_is_refused(
    change: Callable[[Any], Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {title: (what, dict(modules)) for title, (what, modules) in review.GROUPS.items()}
    change(changed["Seal"][1])
    monkeypatch.setattr(review, "GROUPS", changed)
    with pytest.raises(review.Stale, match=named):
        review.render()
