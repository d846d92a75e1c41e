"""`make check` in a repository that lives: what it finds, what it lets pass, and that its advice helps."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_runtime.local import check
from support import engines, interpreter
from support.engines import Render
from support.environment import REPOSITORY, require_python
from support.rendering import configuration

ANSWERS = ".copier-answers.yml"
CONFIG = ".github/agent-config.yml"
POLICY = f".github/agent-policies/{engines.SLUG}.yml"


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Path:
    return Path(shutil.copytree(render(), tmp_path / "project"))


def _lines(project: Path) -> list[str]:
    return [problem.line() for problem in check.check(project)]


def _write(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(project: Path) -> None:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        changed = change(text)
        assert changed != text
        path.write_text(changed, encoding="utf-8")

    return apply


def _replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


DIFFERENCES = [
    ("triggers", "manual+alert", "manual"),
    ("schedule_cron", "''", "'1 2 * * *'"),
    ("act_permissions", "[]", "['contents']"),
    ("auto_approval", "false", "true"),
    ("investigate_secrets", "[]", "['A']"),
    ("investigate_variables", "[]", "['A']"),
    ("investigate_oidc", "false", "true"),
    ("investigate_container", "''", "'x'"),
    ("act_secrets", "['AGENT_ACT_TOKEN']", "[]"),
    ("act_variables", "[]", "['A']"),
    ("investigate_runner", "['ubuntu-latest']", "['x']"),
    ("act_runner", "['ubuntu-latest']", "['x']"),
    ("gate_runner", "['ubuntu-latest']", "['x']"),
    ("ephemeral_runners", "false", "true"),
    ("agent_python", "'3.13'", "'3.12'"),
    ("act_timeout_minutes", "30", "31"),
    ("audit_host", "''", "'audit.example.com'"),
    ("notify", "false", "true"),
    ("toolkit", "['health', ", "['keys', 'health', "),
]

INVALID = [
    ("act_secrets: ['AGENT_ACT_TOKEN']", "act_secrets: A", "key act_secrets is not of type list"),
    ("act_secrets: ['AGENT_ACT_TOKEN']", "act_secrets: [1]", "key act_secrets holds something that is not text"),
    ("act_timeout_minutes: 30", "act_timeout_minutes: true", "key act_timeout_minutes is not of type int"),
    ("act_timeout_minutes: 30", "act_timeout_minutes: 361", "act_timeout_minutes is not between 1 and 360"),
    ("agent_python: '3.13'", "agent_python: 3.13", ""),
    ("schema_version: 1", "schema_version: true", "schema_version is not 1"),
    ("repository_plan: public\n", "", "key repository_plan is missing"),
]

FOUND = {
    "answers-lost": (lambda project: (project / ANSWERS).unlink(), f"CHK001: {ANSWERS}: it can't be read"),
    "answers-yaml": (_write(ANSWERS, lambda _: "a: ["), f"CHK001: {ANSWERS}: it can't be read (ParserError)"),
    "answers-none": (_write(ANSWERS, lambda _: "- a"), f"CHK001: {ANSWERS}: it holds no answers"),
    "answer-unknown": (_write(ANSWERS, lambda text: text + "colour: red\n"), f"ANS001: {ANSWERS}: colour: no question"),
    "answer-bad": (_write(ANSWERS, _replaced("license: MIT", "license: GPL")), f"ANS007: {ANSWERS}: license: choose"),
    "answer-missing": (_write(ANSWERS, _replaced("use_case:", "_x:")), f"ANS002: {ANSWERS}: use_case: the answer is"),
    "config-key": (_write(CONFIG, lambda text: text + "x: 1\n"), f"INP007: {CONFIG}: unknown key"),
    "config-without-asking": (
        _write(CONFIG, lambda text: text.replace("gate: environment", "gate: issue").replace("l: false", "l: true")),
        f"INP007: {CONFIG}: auto_approval needs an environment of its own",
    ),
    "config-differs": (
        _write(CONFIG, _replaced("minutes: 60", "minutes: 61")),
        f"CHK008: {CONFIG}: approval_ttl_minutes",
    ),
    **{
        f"config-differs-{name}": (
            _write(CONFIG, _replaced(f"{name}: {old}", f"{name}: {new}")),
            f"CHK008: {CONFIG}: {name} is ",
        )
        for name, old, new in DIFFERENCES
    },
    **{
        f"config-invalid-{old.partition(':')[0]}-{new or 'absent'}": (
            _write(CONFIG, _replaced(old, new)),
            f"INP007: {CONFIG}: {line}",
        )
        for old, new, line in INVALID
    },
    "config-identity": (
        lambda project: [
            _write(CONFIG, _replaced("plan: public", "plan: private-free"))(project),
            _write(CONFIG, _replaced("oidc: false", "oidc: true"))(project),
        ],
        f"INP007: {CONFIG}: investigate_oidc needs an environment, and repository_plan is private-free",
    ),
    "toolkit-foreign": (
        _write("agent_runtime/toolkit/keys.py", lambda _: "x = 1\n"),
        "CHK006: agent_runtime/toolkit/keys.py: it is not of the template",
    ),
    "toolkit-lost": (
        lambda project: (project / "agent_runtime/toolkit/metrics.py").unlink(),
        "CHK005: agent_runtime/toolkit/metrics.py: it is missing",
    ),
    "toolkit-import": (
        _write("agent_runner.py", lambda text: "from agent_runtime.toolkit import keys, http\n" + text),
        "CHK012: agent_runner.py: it imports keys of the toolkit. Name it in the answer toolkit: python -I "
        "agent_runtime/__main__.py update --set advanced=yes --set toolkit=health,http,keys,services,waiting",
    ),
    "toolkit-import-of-a-test": (
        _write("tests/test_agent.py", lambda text: "import agent_runtime.toolkit.git\n" + text),
        "CHK012: tests/test_agent.py: it imports git of the toolkit. ",
    ),
    "toolkit-import-from-a-module": (
        _write("helpers.py", lambda _: "from agent_runtime.toolkit.usage import load\n"),
        "CHK012: helpers.py: it imports usage of the toolkit. ",
    ),
    "policy-lost": (lambda project: (project / POLICY).unlink(), f"POL001: {POLICY}: it is missing"),
    "policy-never": (
        _write(
            POLICY,
            _replaced(
                "operator: at_least, value: 20",
                "operator: at_least, value: 20}\n      - {parameter: requests, operator: less_than, value: 20",
            ),
        ),
        f"POL004: {POLICY}: allowed_actions[0]: nothing that requests can be is at least 20 and less than 20. ",
    ),
    "policy-case": (
        _write("tests/policy.yml", _replaced("error_rate: 0.05", "error_rate: 0.06")),
        "POL005: tests/policy.yml:12: exactly 5 % is not more than 5 %: the case says denied, the policy review: ",
    ),
    "policy-case-rule": (
        _write("tests/policy.yml", _replaced('"allowed_actions[0]"', '"allowed_actions[1]"')),
        "POL005: tests/policy.yml:5: a service that fails: review as the case says, but decided by allowed_",
    ),
    "policy-case-key": (
        _write("tests/policy.yml", _replaced("risk: medium", "risks: medium")),
        "POL006: tests/policy.yml line 9: a case has the unknown key risks: use description, action, ",
    ),
    "policy-alias": (_write(POLICY, lambda _: "a: &x 1\n"), f"POL002: {POLICY} line 1: "),
    "conflict": (_write("README.md", lambda text: text + "<<<<<<< before updating\n"), "CHK007: README.md:"),
    "rejected": (_write("README.md.rej", lambda _: "x"), "CHK007: README.md.rej: a rejected change is left"),
    "not-text": (lambda project: (project / "x.py").write_bytes(b"\xff"), "CHK002: x.py: it can't be read as text"),
    "unrendered-name": (_write(".github/{{ x }}.md", lambda _: "x"), "CHK003: .github/{{ x }}.md: its name was not"),
    **{
        f"shadows-{name}": (_write(name, lambda _: "x = 1\n"), f"CHK009: {name.split('/')[0]}: it shadows the module ")
        for name in (
            "rfc8785.py",
            "yaml/__init__.py",
            "pydantic_core.so",
            "pathlib.py",
            "aimgentix.py",
            "pip/__init__.py",
        )
    },
    "shadows-a-package-of-the-agent": (
        _write("requests.py", lambda _: "x = 1\n"),
        "CHK009: requests.py: it shadows the module",
    ),
    "lock-behind-the-team": (
        _write("requirements-agent.in", lambda text: text + "My_Package[extra] >= 2  # why\n"),
        "CHK013: requirements-agent.lock: requirements-agent.in asks for my-package, which is not in it. "
        "Regenerate it with: make lock",
    ),
    "lock-behind-an-update": (
        _write("requirements.in", lambda text: text.replace("pydantic>=2.10", "pydantic>=2.99,<3")),
        "CHK013: requirements-agent.lock: requirements.in asks for pydantic 2.99 or newer. ",
    ),
    "lock-lost": (
        lambda project: (project / "requirements-agent.lock").unlink(),
        "CHK013: requirements-agent.lock: requirements-agent.in asks for requests, which is not in it. ",
    ),
    "suffix": (_write("README.md.jinja", lambda _: "x"), "CHK003: README.md.jinja: its name was not rendered"),
    "workflow": (
        _write(".github/workflows/agent-investigate-act.yml", _replaced("environment: agent-act", "x: 1")),
        "CON04: .github/workflows/agent-investigate-act.yml:",
    ),
    "setup-action": (
        _write(".github/actions/setup-gate/action.yml", _replaced("--no-compile", "--compile")),
        "CON24: .github/actions/setup-gate/action.yml:1: it is not as agent_runtime/manifest.json has it",
    ),
    "manifest-lost": (lambda project: (project / check.MANIFEST).unlink(), f"CHK005: {check.MANIFEST}: it is missing"),
    "manifest-json": (_write(check.MANIFEST, lambda _: "{"), f"CHK004: {check.MANIFEST}: it can't be read"),
}


@pytest.mark.parametrize("spoil, line", FOUND.values(), ids=list(FOUND))
def test_found(spoil: Callable[[Path], None], line: str, project: Path) -> None:
    spoil(project)

    problems = check.check(project)
    lines = [problem.line() for problem in problems]

    assert [found for found in lines if found.startswith(line)], lines
    assert not [found for found in lines if "\n" in found]
    assert all(
        len(problem.fix) > 10 and found.endswith(problem.fix) for problem, found in zip(problems, lines, strict=True)
    )


PASSED = {
    "lists": _write(
        "requirements-agent.in",
        lambda text: text + "\nRequests>=2  # newer\n--extra-index-url x\nold ; python_version < '3.0'\n",
    ),
    "dependabot": _write(
        ".github/workflows/ci.yml", lambda text: re.sub(r"@[0-9a-f]{40} # v[\d.]+", f"@{'a' * 40} # v99.0.0", text)
    ),
    "windows": lambda project: (project / "agent_runtime/model/plan.py").write_bytes(
        (project / "agent_runtime/model/plan.py").read_bytes().replace(b"\n", b"\r\n")
    ),
    "own-workflow": _write(
        ".github/workflows/nightly.yml",
        lambda _: (
            "on: push\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    timeout-minutes: 1\n"
            "    permissions: {}\n    steps:\n      - run: make test\n"
        ),
    ),
    "own-steps": _write(
        ".github/actions/prepare-act/action.yml",
        _replaced(
            "  steps:\n",
            f"  steps:\n    - uses: hashicorp/vault-action@{'b' * 40} # v3.4.0\n      with:\n        method: jwt\n",
        ),
    ),
    "own-action": _write(".github/actions/ours/action.yml", lambda _: "runs:\n  using: composite\n  steps: []\n"),
    "own-folder": _write("infrastructure/stack.yml", lambda _: "{% if x %}\nBucket: !Ref <<<<<<<\n"),
    "own-tests": _write("tests/test_more.py", lambda _: "def test_more() -> None: ...\n"),
    "tags": _write("stack.yml", lambda _: "Bucket: !Ref Name\n"),
    "caches": _write("agent_runtime/__pycache__/plan.cpython-38.pyc", lambda _: "x"),
    "seed-gone": lambda project: (project / "docs/RUNBOOK.md").unlink(),
    "seed-changed": _write("agent_runner.py", lambda _: 'TEXT = "{{ name }}"\n'),
    "readme-changed": _write("README.md", lambda _: "# Ours\n"),
}


@pytest.mark.parametrize("change", PASSED.values(), ids=list(PASSED))
def test_passed(change: Callable[[Path], None], project: Path) -> None:
    change(project)

    assert _lines(project) == []


@pytest.mark.parametrize(
    ("investigate", "act", "gate", "ephemeral", "shared"),
    [
        ("ubuntu-latest", "ubuntu-latest", "ubuntu-latest", "no", []),
        ("Windows-2025", "macOS-15", "ubuntu-24.04-arm", "no", []),
        ("self-hosted", "ubuntu-latest", "ubuntu-latest", "no", []),
        ("self-hosted, readers", "self-hosted, actors", "ubuntu-latest", "no", []),
        ("self-hosted, linux", "Linux ,SELF-HOSTED", "ubuntu-latest", "no", ["investigate_runner and act_runner"]),
        ("big", "ubuntu-latest", "big", "no", ["investigate_runner and gate_runner"]),
        ("ubuntu-latest", "ubuntu-latest, ours", "ours, ubuntu-latest", "no", ["act_runner and gate_runner"]),
        # A machine with the labels of one takes the jobs of the other, too.
        ("self-hosted", "self-hosted, actors", "ubuntu-latest", "no", ["investigate_runner and act_runner"]),
        (
            "a",
            "a",
            "A",
            "no",
            ["investigate_runner and act_runner", "investigate_runner and gate_runner", "act_runner and gate_runner"],
        ),
        ("a", "a", "A", "yes", []),
    ],
)
def test_roles_share_no_machine_that_stays(
    investigate: str, act: str, gate: str, ephemeral: str, shared: list[str]
) -> None:
    runners = {"investigate_runner": investigate, "act_runner": act, "gate_runner": gate}
    settings = configuration({"advanced": "yes", **runners, "ephemeral_runners": ephemeral})

    found = list(check._shared_runners(settings))

    assert [problem.message.partition(" share ")[0] for problem in found] == shared
    assert {problem.code for problem in found} <= {"CHK010"}


def test_a_repository_whose_roles_share_a_machine_hears_of_it(render: Render) -> None:
    project = render(advanced="yes", investigate_runner="big", act_runner="ubuntu-latest", gate_runner="big")

    (found,) = (problem.line() for problem in check.check(project) if problem.code.startswith("CHK"))

    assert found.startswith(f"CHK010: {CONFIG}: investigate_runner and gate_runner share self-hosted runners: ")


def test_a_repository_without_a_release_learns_how_to_get_one(
    project: Path, template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So it is born from an archive, which has no history."""
    text = (project / ANSWERS).read_text(encoding="utf-8")
    without = re.sub("_commit: .*\n", "", text).replace(f"_src_path: {template}", "_src_path: ~/Downloads/template.zip")
    (project / ANSWERS).write_text(without, encoding="utf-8")

    assert check.main([str(project)]) == 0
    said = capsys.readouterr()
    assert said.err.startswith(
        f"note: CHK011: {ANSWERS}: it has no _commit. Write the template's git address as _src_path"
    )
    assert "in order" in said.out

    whole = without.replace("_src_path: ~/Downloads/template.zip", f"_src_path: {template}\n_commit: v1.0.0")
    (project / ANSWERS).write_text(whole, encoding="utf-8")
    engines.commit_all(project, "Say where it came from")
    done = engines.run(
        [sys.executable, "-m", "copier", "update", "--defaults", "--data", "license=Proprietary"], project
    )
    assert done.returncode == 0, done.stderr
    assert check.main([str(project)]) == 0
    assert capsys.readouterr().err == ""


def test_the_advice_restores_a_file(project: Path) -> None:
    name = "agent_runtime/model/plan.py"
    whole = (project / name).read_bytes()
    (project / name).write_bytes(b"# edited\n")
    _write("agent_runner.py", lambda text: text + "# ours\n")(project)
    engines.commit_all(project, "Edit")

    (line,) = _lines(project)
    command = shlex.split(line.partition("Restore it with: ")[2])
    done = engines.run([interpreter.python(), "-m", *command], cwd=project)

    assert done.returncode == 0, done.stderr
    assert (project / name).read_bytes() == whole
    assert engines.git(project, "diff", "--name-only").split() == [name]
    assert _lines(project) == []


def test_the_advice_restores_the_configuration_and_nothing_else(project: Path) -> None:
    name = ".github/agent-config.yml"
    whole = (project / name).read_bytes()
    (project / name).write_text("agent: [")
    _write("agent_runner.py", lambda text: text + "# ours\n")(project)
    engines.commit_all(project, "Edit")

    asked = ["policy", "check", "--action", "x", "--resource", "y"]
    done = engines.run([interpreter.python(), "agent_runner.py", *asked], cwd=project)
    assert "INP007: " in done.stderr, done.stderr
    command = shlex.split(done.stderr.partition("from the answers with: ")[2])
    done = engines.run([interpreter.python(), "-m", *command], cwd=project)

    assert done.returncode == 0, done.stderr
    assert (project / name).read_bytes() == whole
    assert engines.git(project, "diff", "--name-only").split() == [name]


def test_command_line(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert check.main([str(project)]) == 0
    monkeypatch.chdir(project)
    assert check.main([]) == 0
    (project / ANSWERS).unlink()
    assert check.main([]) == 2
    assert check.main(["--help"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "usage: python -m agent_runtime.local.check [FOLDER]"


def test_the_agents_command_line_knows_it(project: Path) -> None:
    (project / ANSWERS).unlink()

    done = engines.run([interpreter.python(), "agent_runner.py", "check"], cwd=project)

    assert done.returncode == 2
    assert done.stderr.startswith("CHK001: ")


def test_rules_of_answers_need_no_package_on_the_oldest_python(project: Path) -> None:
    script = "import sys; from agent_runtime.local import answers; print(answers.check('agent_slug', 'A').line())"

    done = engines.run(
        [require_python("3.8"), "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {script}"], project
    )

    assert done.stdout.startswith("ANS004: agent_slug: "), done.stderr


def test_manifest_is_fresh() -> None:
    """After a change below template/: make manifest."""
    done = engines.run([sys.executable, str(REPOSITORY / "tools" / "manifest.py"), "--check"])

    assert done.returncode == 0, done.stderr


def test_manifest_lists_the_templates_own_files_and_nothing_else(template: Path) -> None:
    manifest = json.loads((template / "template" / check.MANIFEST).read_text(encoding="utf-8"))
    files = set(manifest["files"])

    assert check.MANIFEST not in files
    assert {
        "agent_runtime/gate/checks.py",
        "sdk/aimgentix/client.py",
        ".github/workflows/ci.yml",
        "docs/SETUP_GUIDE.md",
    } <= files
    assert {"requirements.in", "requirements.lock", "requirements-dev.lock", "requirements-uv.lock"} <= files
    assert not {"README.md", "pyproject.toml", "Makefile", "requirements-agent.lock", "agent_runner.py"} & files
    assert not [name for name in files if name.startswith("use_cases/")]
    assert {"agent_runner.py", "README.md", CONFIG} <= set(manifest["rendered"])
    assert manifest["folders"] == [
        ".github/actions/setup-agent",
        ".github/actions/setup-gate",
        "agent_runtime",
        "sdk",
        "specs",
    ]


def test_a_stale_manifest_is_reported(template: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(template, tmp_path / "copy", symlinks=True))
    command = [sys.executable, "tools/manifest.py"]
    assert engines.run([*command, "--check"], copy).returncode == 0

    with (copy / "template/agent_runtime/model/plan.py").open("a") as file:
        file.write("# changed\n")

    assert "stale: run make manifest" in engines.run([*command, "--check"], copy).stderr
    assert engines.run(command, copy).returncode == 0
    assert engines.run([*command, "--check"], copy).returncode == 0
