"""Copier and Cookiecutter make the same tree, without trust, without network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agent_runtime.local import answers
from support import engines, interpreter
from support.engines import Render

IMAGE = "ghcr.io/acme/agent:1.2@sha256:" + "0123456789abcdef" * 4
COMBINATIONS = engines.combinations()


@pytest.mark.parametrize("given", COMBINATIONS.values(), ids=COMBINATIONS)
def test_both_engines_make_the_same_tree(given: dict[str, str], render: Render, bake: Render) -> None:
    copied, baked = engines.tree(render(**given)), engines.tree(bake(**given))

    assert sorted(copied) == sorted(baked)
    assert [name for name in copied if copied[name] != baked[name]] == []


def test_odd_answers_make_the_same_tree(render: Render, bake: Render) -> None:
    given = {
        "agent_name": "Füße \\ \"d'œuvre\" #1: 'x' é",
        "agent_slug": "null",
        "description": 'Says: "it\'s 100 % {fine}" \\ # [no] & <b>',
        "github_repository": "0cto-cat/r.e_p-o",
        "approvers": "octo-cat, Acme/SRE_team ,jane_acme",
        "triggers": "manual+schedule",
        "schedule_cron": "*/15 0-23/2 1,15 JAN-DEC MON-FRI",
        "approval_ttl_minutes": "43200",
        "act_permissions": " issues , id-token",
        "advanced": "yes",
        "investigate_secrets": " NO ,METRICS_TOKEN",
        "investigate_variables": "NULL",
        "investigate_oidc": "yes",
        "investigate_container": IMAGE,
        "act_secrets": "",
        "act_variables": "Y, _1",
        "investigate_runner": "self-hosted, Linux ,1.0",
        "act_runner": "windows-2025",
        "gate_runner": "null",
        "ephemeral_runners": "yes",
        "agent_python": "3.10",
        "act_timeout_minutes": "360",
        "audit_host": "0.example:8443",
        "notify": "yes",
        "toolkit": " usage ,health, services",
    }

    project, baked = render(**given), bake(**given)

    assert engines.tree(project) == engines.tree(baked)
    config = yaml.safe_load((project / ".github/agent-config.yml").read_text(encoding="utf-8"))
    assert config == {
        "schema_version": 1,
        "agent": "null",
        "name": given["agent_name"],
        "repository": "0cto-cat/r.e_p-o",
        "approvers": ["octo-cat", "Acme/SRE_team", "jane_acme"],
        "approval_ttl_minutes": 43200,
        "repository_plan": "public",
        "approval_gate": "environment",
        "triggers": "manual+schedule",
        "schedule_cron": given["schedule_cron"],
        "act_permissions": ["issues", "id-token"],
        "auto_approval": False,
        "investigate_secrets": ["NO", "METRICS_TOKEN"],
        "investigate_variables": ["NULL"],
        "investigate_oidc": True,
        "investigate_container": IMAGE,
        "act_secrets": [],
        "act_variables": ["Y", "_1"],
        "investigate_runner": ["self-hosted", "Linux", "1.0"],
        "act_runner": ["windows-2025"],
        "gate_runner": ["null"],
        "ephemeral_runners": True,
        "agent_python": "3.10",
        "act_timeout_minutes": 360,
        "audit_host": "0.example:8443",
        "notify": True,
        "toolkit": ["usage", "health", "services"],
    }
    modules = {path.stem for path in (project / "agent_runtime" / "toolkit").glob("*.py")}
    assert modules == {"__init__", "errors", "health", "http", "metrics", "services", "usage", "waiting"}
    assert answers.left_out(by_issue=False, notify=True) == answers.ISSUE_FILES
    assert all((project / name).is_file() for name in answers.NOTIFY_FILES)
    assert not any((project / name).exists() for name in answers.ISSUE_FILES)
    assert engines.run_check(project).stderr == ""


@pytest.mark.parametrize("use_case", answers.USE_CASES)
def test_a_use_case_gets_the_modules_that_it_names(use_case: str, render: Render) -> None:
    words = (render(use_case=use_case) / ".github" / "agent-config.yml").read_text(encoding="utf-8")
    named = yaml.safe_load(words)["toolkit"]

    modules = {path.stem for path in (render(use_case=use_case) / "agent_runtime" / "toolkit").glob("*.py")}
    assert ", ".join(named) == answers.unasked("toolkit", {"use_case": use_case})
    assert modules == {"__init__", *answers.toolkit_modules(named)}


def test_a_repository_has_no_command_that_its_answers_do_not_need(render: Render, bake: Render) -> None:
    for plan, by_issue in (("public", False), ("private-team", True)):
        for project in (render(repository_plan=plan), bake(repository_plan=plan)):
            assert not any((project / name).exists() for name in answers.left_out(by_issue=by_issue, notify=False))
            assert all((project / name).is_file() == by_issue for name in answers.ISSUE_FILES)
            assert engines.run_check(project).stderr == ""
    for project in (render(), bake()):
        command = [interpreter.python(), "-I", "agent_runtime/__main__.py", "notify", "ended"]
        done = subprocess.run(command, cwd=project, text=True, capture_output=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("error: INP006: argument COMMAND: invalid choice: 'notify'")


def test_answers_that_cookiecutter_writes_are_those_that_copier_remembers(
    template: Path, render: Render, bake: Render
) -> None:
    copied = yaml.safe_load((render() / ".copier-answers.yml").read_text(encoding="utf-8"))
    baked = yaml.safe_load((bake() / ".copier-answers.yml").read_text(encoding="utf-8"))

    assert baked == copied
    assert baked["_commit"] == "v1.0.0"
    assert baked["_src_path"] == str(template)


def test_copier_needs_no_network(template: Path, tmp_path: Path) -> None:
    """The template is a local clone here; whatever else rendering might ask for would fail."""
    script = (
        "import sys, copier; copier.run_copy(sys.argv[1], sys.argv[2], data={'agent_name': 'No Network'},"
        " defaults=True, quiet=True, unsafe=False)"
    )
    _without_network([sys.executable, "-c", script, str(template), str(tmp_path / "project")])

    assert (tmp_path / "project" / "agent_runner.py").is_file()


def test_cookiecutter_needs_no_network(template: Path, tmp_path: Path) -> None:
    command = [interpreter.python(), "-m", "cookiecutter", "--no-input", "--default-config", "-o", str(tmp_path)]
    _without_network([*command, str(template), "agent_name=No Network"])

    assert (tmp_path / "no-network" / "agent_runner.py").is_file()


def _without_network(command: list[str]) -> None:
    """Run `command` where nothing outside answers: behind a dead proxy, and with no network where that is allowed."""
    namespace = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") and engines.run([*namespace, "true"]).returncode == 0:
        command = [*namespace, *command]
    dead = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    done = engines.run(command, environment={"GIT_ALLOW_PROTOCOL": "file", **dead})
    assert done.returncode == 0, done.stdout + done.stderr
