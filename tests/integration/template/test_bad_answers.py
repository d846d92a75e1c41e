"""Both engines refuse what is invalid, in one clear line each, and write nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cookiecutter.exceptions import CookiecutterException  # type: ignore[import-untyped]

from agent_runtime.local import answers
from support import engines, interpreter
from support.engines import Render

UNASKED = {question: answer for question, answer in engines.ADVANCED.items() if question in answers.ADVANCED}
UNASKED["ephemeral_runners"] = "yes"

# One answer for each question and one for each way in which an engine might be led astray.
BAD = {
    "name-empty": ({"agent_name": ""}, "ANS003"),
    "name-two-lines": ({"agent_name": "a\nb"}, "ANS003"),
    "name-bidi": ({"agent_name": "a\u202eb"}, "ANS003"),
    "name-jinja": ({"agent_name": "{{ 7 * 7 }}"}, "ANS003"),
    "slug-upper": ({"agent_slug": "Checkout"}, "ANS004"),
    "slug-path": ({"agent_slug": "../elsewhere"}, "ANS004"),
    "slug-quote": ({"agent_slug": "a'''b\"\"\"c"}, "ANS004"),
    "description-jinja": ({"description": "{% raw %}x{% endraw %}"}, "ANS003"),
    "repository-url": ({"github_repository": "https://github.com/acme/x"}, "ANS005"),
    "approver-no-login": ({"approvers": "octocat,not a login"}, "ANS006"),
    "approver-hyphens": ({"approvers": "-octo--cat-"}, "ANS006"),
    "cron-macro": ({"triggers": "manual+schedule", "schedule_cron": "@daily"}, "ANS008"),
    "cron-range": ({"triggers": "manual+schedule", "schedule_cron": "99 * * * *"}, "ANS008"),
    "ttl-zero": ({"approval_ttl_minutes": "0"}, "ANS009"),
    "ttl-word": ({"approval_ttl_minutes": "an hour"}, "ANS009"),
    "permission-all": ({"act_permissions": "write-all"}, "ANS010"),
    "secret-of-github": ({"advanced": "yes", "investigate_secrets": "GITHUB_TOKEN"}, "ANS011"),
    "variable-twice": ({"advanced": "yes", "investigate_secrets": "A", "investigate_variables": "A"}, "ANS011"),
    "act-secret-jinja": ({"advanced": "yes", "act_secrets": "{{ 7 * 7 }}"}, "ANS011"),
    "act-variable-lower": ({"advanced": "yes", "act_variables": "path"}, "ANS011"),
    "one-secret-before-and-behind": (
        {"advanced": "yes", "repository_plan": "private-free", "investigate_secrets": "A", "act_secrets": "A"},
        "ANS011",
    ),
    "identity-without-environment": (
        {"advanced": "yes", "repository_plan": "private-free", "investigate_oidc": "yes"},
        "ANS012",
    ),
    "container-by-tag": ({"advanced": "yes", "investigate_container": "alpine:3.20"}, "ANS013"),
    "runner-expression": ({"advanced": "yes", "investigate_runner": "${{ 7 * 7 }}"}, "ANS014"),
    "runner-quote": ({"advanced": "yes", "act_runner": "a'b"}, "ANS014"),
    "runner-empty": ({"advanced": "yes", "gate_runner": ","}, "ANS014"),
    "python-old": ({"advanced": "yes", "agent_python": "3.7"}, "ANS015"),
    "timeout-long": ({"advanced": "yes", "act_timeout_minutes": "361"}, "ANS016"),
    "host-with-scheme": ({"advanced": "yes", "audit_host": "https://audit.example.com"}, "ANS019"),
    "toolkit-unknown": ({"advanced": "yes", "toolkit": "http,../colour"}, "ANS017"),
    "cron-without-schedule": ({"triggers": "manual", "schedule_cron": "1 2 * * *"}, "ANS018"),
    **{f"unasked-{question}": ({question: answer}, "ANS018") for question, answer in UNASKED.items()},
}
NO_CHOICE = {
    "use_case": "fly",
    "triggers": "alert",
    "auto_approval": "maybe",
    "repository_plan": "free",
    "license": "WTFPL",
    "advanced": "maybe",
    "investigate_oidc": "maybe",
    "ephemeral_runners": "maybe",
    "notify": "maybe",
}


@pytest.mark.parametrize("given, code", BAD.values(), ids=BAD)
def test_copier_refuses(given: dict[str, str], code: str, template: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=code) as refused:
        engines.run_copier(template, tmp_path / "project", {"agent_name": engines.NAME, **given})

    assert "\n" not in str(refused.value)
    assert next(reversed(given)) in str(refused.value)
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("given, code", BAD.values(), ids=BAD)
def test_cookiecutter_refuses(
    given: dict[str, str], code: str, bake: Render, cookies: object, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(CookiecutterException):
        bake(**given)

    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("ANS")]
    assert len(lines) == 1
    assert lines[0].startswith(f"{code}: {next(reversed(given))}: ")
    assert [path for path in tmp_path.rglob("*") if path.name in ("agent_runner.py", "elsewhere")] == []


@pytest.mark.parametrize("question", NO_CHOICE)
def test_both_refuse_what_is_not_a_choice(question: str, template: Path, tmp_path: Path, bake: Render) -> None:
    given = {"advanced": "yes", question: NO_CHOICE[question]}

    with pytest.raises(ValueError, match=f"Invalid choice for '{question}'"):
        engines.run_copier(template, tmp_path / "project", {"agent_name": engines.NAME, **given})
    with pytest.raises(ValueError, match=f"choice variable {question}"):
        bake(**given)
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("key", ["colour", "agent-name", "cookiecutter", "agent_slugs"])
def test_copier_refuses_data_that_no_question_has(key: str, template: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"ANS001: {key}: no question has this name"):
        engines.run_copier(template, tmp_path / "project", {"agent_name": engines.NAME, key: "x"})

    assert not (tmp_path / "project").exists()


def test_copier_passes_over_its_own_keys(template: Path, tmp_path: Path) -> None:
    engines.run_copier(template, tmp_path / "project", {"agent_name": engines.NAME, "_note": "x"})

    assert "_note" not in (tmp_path / "project" / ".copier-answers.yml").read_text(encoding="utf-8")


def test_copier_wants_a_name(template: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='Question "agent_name" is required'):
        engines.run_copier(template, tmp_path / "project", {})

    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("name", ["🚀", "Ωmega"])
def test_a_name_that_gives_no_slug_needs_one(name: str, template: Path, tmp_path: Path, bake: Render) -> None:
    with pytest.raises(ValueError, match='Question "agent_slug" is required'):
        engines.run_copier(template, tmp_path / "project", {"agent_name": name})
    done = _cookiecutter(template, tmp_path / "out", f"agent_name={name}")

    assert (done.returncode, "ANS004: agent_slug: " in done.stderr) == (1, True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert (bake(agent_name=name, agent_slug="rocket") / "agent_runner.py").is_file()


def _cookiecutter(template: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        interpreter.python(),
        "-m",
        "cookiecutter",
        "--no-input",
        "--default-config",
        "-o",
        str(folder),
        str(template),
    ]
    return engines.run([*command, *words])


@pytest.mark.parametrize(
    "word, line",
    [
        ("colour=red", "ANS001: colour: no question has this name"),
        (
            "use_case=fly",
            "ANS007: use_case: choose one of: service-restart, config-rollback, scale-resources, security-response, "
            "incident-response, disk-cleanup, blank",
        ),
        ("agent_slug=../elsewhere", "ANS004: agent_slug: "),
        ("description={{ broken", "ANS003: description: "),
    ],
    ids=["unknown", "no-choice", "path", "broken-jinja"],
)
def test_cookiecutter_refuses_its_command_line(word: str, line: str, template: Path, tmp_path: Path) -> None:
    done = _cookiecutter(template, tmp_path / "out", "agent_name=Checkout Restart", word)

    assert done.returncode != 0
    assert next(said for said in done.stderr.splitlines() if said.startswith("ANS")).startswith(line)
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_cookiecutter_wants_a_name(template: Path, tmp_path: Path) -> None:
    done = _cookiecutter(template, tmp_path)

    assert done.returncode != 0
    assert "ANS003: agent_name: " in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_line_is_read_as_cookiecutter_reads_it(template: Path, tmp_path: Path) -> None:
    """Options with values, and values with equals signs and spaces, are not foreign keys."""
    folder = tmp_path / "a=b c"
    done = _cookiecutter(template, folder, "agent_name=Checkout Restart", "description=holds a=b and c = d")

    assert done.returncode == 0, done.stderr
    assert "holds a=b and c = d." in (folder / "checkout-restart" / "README.md").read_text(encoding="utf-8")


def test_a_default_of_the_user_that_no_question_has_is_fine(template: Path, tmp_path: Path) -> None:
    """The user's configuration serves every template."""
    config = tmp_path / "config.yml"
    config.write_text(f"default_context:\n  full_name: Jo\nreplay_dir: {tmp_path}\ncookiecutters_dir: {tmp_path}\n")
    command = [
        interpreter.python(),
        "-m",
        "cookiecutter",
        "--no-input",
        "--config-file",
        str(config),
        "-o",
        str(tmp_path),
    ]

    done = engines.run([*command, str(template), "agent_name=Jo"])

    assert done.returncode == 0, done.stderr


def _configured(template: Path, folder: Path, defaults: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Cookiecutter with these defaults in the user's configuration."""
    config = folder / "config.yml"
    lines = "".join(f"  {line}\n" for line in ["full_name: Jo", *defaults.split("; ")])
    text = f"default_context:\n{lines}replay_dir: {folder}\ncookiecutters_dir: {folder}\n"
    config.write_text(text, encoding="utf-8")
    command = [interpreter.python(), "-m", "cookiecutter", "--no-input", "-o", str(folder / "out"), *words]
    return engines.run(
        [*command, str(template), f"agent_name={engines.NAME}"], environment={"COOKIECUTTER_CONFIG": str(config)}
    )


@pytest.mark.parametrize(
    ("defaults", "line"),
    [
        ("license: BSD-3-Clause; repository_plan: private-free; approvers: lead", "ANS007: license: choose one of: "),
        ("approvers: lead; repository_plan: private-other", "ANS007: repository_plan: choose one of: public, "),
        ("auto_approval: yes", "ANS007: auto_approval: choose one of: no, yes; in YAML with quotes"),
        ("approvers: '@lead'; license: MIT", "ANS006: approvers: "),
        ("investigate_container: alpine", "ANS013: investigate_container: "),
    ],
)
def test_a_bad_default_of_the_user_takes_no_other_along(
    defaults: str, line: str, template: Path, tmp_path: Path
) -> None:
    done = _configured(template, tmp_path, defaults)

    assert done.returncode != 0
    (said,) = [said for said in done.stderr.splitlines() if said.startswith("ANS")]
    assert said.startswith(line)
    assert "default_context" in said
    assert not (tmp_path / "out").exists()


def test_who_does_not_want_the_users_defaults_needs_no_good_ones(template: Path, tmp_path: Path) -> None:
    defaults = "license: BSD-3-Clause; approvers: '@lead'"

    assert _configured(template, tmp_path, defaults, "--default-config").returncode == 0


def test_good_defaults_of_the_user_hold_and_an_unquoted_no_means_no(
    template: Path, tmp_path: Path, render: Render
) -> None:
    defaults = (
        "auto_approval: no; repository_plan: private-team; approvers: lead; approval_ttl_minutes: 5; advanced: no"
    )

    done = _configured(template, tmp_path, defaults)

    given = {"auto_approval": "no", "repository_plan": "private-team", "approvers": "lead", "approval_ttl_minutes": "5"}
    assert done.returncode == 0, done.stderr
    assert engines.tree(tmp_path / "out" / engines.SLUG) == engines.tree(render(**given))


def test_copier_says_it_on_the_command_line(template: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "copier", "copy", "--defaults", "--data", "agent_name=X y", "--data", "colour=red"]
    done = engines.run([*command, str(template), str(tmp_path / "project")])

    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].endswith("ANS001: colour: no question has this name")
    assert not (tmp_path / "project").exists()


def test_every_code_of_an_answer_is_tried_here() -> None:
    tried = {code for _, code in BAD.values()} | {answers.UNKNOWN, answers.CHOICE}
    every = {value for value in vars(answers).values() if isinstance(value, str) and value.startswith("ANS")}

    assert every - tried == {answers.MISSING}  # engines give a default; make check meets it
