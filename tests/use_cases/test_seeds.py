"""The files of the use cases: they go through Jinja unchanged, and old runners can read them."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agent_runtime.policy import parse_policy
from agent_runtime.toolkit import services

USE_CASES = Path(__file__).resolve().parent.parent.parent / "template" / "use_cases"
FOLDERS = sorted(path for path in USE_CASES.iterdir() if path.is_dir() and not path.name.startswith("."))
SEEDS = sorted(path for folder in FOLDERS for path in folder.iterdir() if path.is_file())
NEEDED = {"agent_runner.py", "policy.yml", "test_agent.py", "RUNBOOK.md"}


def named(path: Path) -> str:
    return str(path.relative_to(USE_CASES))


@pytest.mark.parametrize("use_case", FOLDERS, ids=named)
def test_every_use_case_is_whole(use_case: Path) -> None:
    assert {path.name for path in use_case.iterdir()} >= NEEDED


@pytest.mark.parametrize("seed", SEEDS, ids=named)
def test_jinja_sees_nothing_in_a_seed(seed: Path) -> None:
    assert not re.search(r"\{\{|\{%|\{#", seed.read_text(encoding="utf-8"))


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed.suffix == ".py"], ids=named)
def test_python_3_8_can_read_a_seed(seed: Path) -> None:
    ast.parse(seed.read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed.name == "policy.yml"], ids=named)
def test_a_policy_allows_narrowly(seed: Path) -> None:
    policy = parse_policy(seed.read_bytes(), seed.name)
    assert policy.name == seed.parent.name
    assert policy.denied_actions
    for rule in policy.allowed_actions:
        assert "*" not in rule.type
        assert rule.conditions


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed.name == "services.yml"], ids=named)
def test_a_catalogue_can_be_read_with_its_commented_entries(seed: Path) -> None:
    text = seed.read_text(encoding="utf-8")
    assert "example" in services.parse(text.encode(), seed.name).services
    head, commented = text.split("  # One of yours might look like this:\n  #\n")
    entries = services.parse((head + commented.replace("  # ", "  ")).encode(), seed.name).services
    assert len(entries) == 2


def test_the_entries_in_the_guides_can_be_read() -> None:
    guides = [USE_CASES / "service-restart" / "RUNBOOK.md", USE_CASES.parent.parent / "examples" / "README.md"]
    for guide in guides:
        (block,) = re.findall(r"```yaml\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
        entry = textwrap.dedent(block)
        text = entry if entry.startswith("services:") else "services:\n" + textwrap.indent(entry, "  ")
        assert services.parse(text.encode(), guide.name).services


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed.name == "agent_runner.py"], ids=named)
def test_an_agent_loads_its_tools_when_it_uses_them(seed: Path, repository: Path) -> None:
    script = "import agent_runner, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": f"{repository / 'template'}:{seed.parent}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=True,
    )
    heavy = {"requests", "urllib3", "prometheus_client", "yaml", "ssl", "pydantic", "agent_runtime.documents"}
    assert not heavy & set(json.loads(done.stdout))
