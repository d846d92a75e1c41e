"""The files of the use cases: they go through Jinja unchanged, and old runners can read them."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent_runtime.local import policy_cases, policy_lint
from agent_runtime.testing import parse_policy
from agent_runtime.toolkit import services
from support.toolkit import load_agent

USE_CASES = Path(__file__).resolve().parents[3] / "template" / "use_cases"
FOLDERS = sorted(path for path in USE_CASES.iterdir() if path.is_dir() and not path.name.startswith("."))
SEEDS = sorted(path for folder in FOLDERS for path in folder.iterdir() if path.is_file())
NEEDED = {"agent_runner.py", "policy.yml", "policy_cases.yml", "test_agent.py", "RUNBOOK.md"}


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
    assert list(policy_lint.never(policy)) == []
    cases = policy_cases.read(seed.with_name("policy_cases.yml"), "policy_cases.yml")
    assert {case.decision for case in cases} >= {"denied", "review"}
    for case in cases:
        assert policy_cases.problem(case, policy, auto_approval=False) is None


def catalogue(use_case: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """The entries of a catalogue as the agent of a use case reads them."""
    file = folder / "services.yml"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("SERVICES_FILE", str(file))
    agent = load_agent(use_case)
    read = agent.catalogue() if hasattr(agent, "catalogue") else services.load(agent.SERVICES)
    found: Mapping[str, Any] = read.services
    return found


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed.name == "services.yml"], ids=named)
def test_a_catalogue_can_be_read_with_its_commented_entries(
    seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = seed.read_text(encoding="utf-8")
    assert "example" in catalogue(seed.parent.name, text, tmp_path, monkeypatch)
    head, commented = text.split("  # One of yours might look like this:\n  #\n")
    whole = head + re.sub(r"^  # ?", "  ", commented, flags=re.MULTILINE)
    assert (
        len(catalogue(seed.parent.name, whole, tmp_path, monkeypatch))
        == len(re.findall(r"^  [a-z]", whole, re.MULTILINE))
        > 1
    )


@pytest.mark.parametrize("use_case", [folder.name for folder in FOLDERS if folder.name != "blank"])
def test_the_entries_in_the_guides_can_be_read(use_case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guides = [USE_CASES / use_case / "RUNBOOK.md"]
    if use_case == "service-restart":
        guides.append(USE_CASES.parent.parent / "examples" / "README.md")
    for guide in guides:
        found = re.findall(r"```yaml\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
        (block,) = [one for one in found if not one.startswith("groups:")]  # rules of Prometheus are none
        entry = textwrap.dedent(block)
        text = entry if entry.startswith("services:") else "services:\n" + textwrap.indent(entry, "  ")
        assert catalogue(use_case, text, tmp_path, monkeypatch)


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if seed.name == "agent_runner.py"], ids=named)
def test_an_agent_loads_its_tools_when_it_uses_them(seed: Path, repository: Path) -> None:
    script = "import agent_runner, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": f"{repository / 'template'}:{seed.parent}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=True,
    )
    heavy = {"requests", "urllib3", "prometheus_client", "yaml", "ssl", "pydantic", "agent_runtime.model.documents"}
    assert not heavy & set(json.loads(done.stdout))
