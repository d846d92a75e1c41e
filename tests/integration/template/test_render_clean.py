"""What comes out is whole: nothing unrendered, everything valid in its own language, names for every system."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

import pytest
import yaml

from agent_runtime.local import answers, check
from support import engines
from support.engines import Render
from support.environment import REPOSITORY

COMBINATIONS = engines.combinations()
STATIC = {path.relative_to(REPOSITORY / "template").as_posix() for path in (REPOSITORY / "template").rglob("*")}
SEEDS = {
    "agent_runner.py": "agent_runner.py",
    f".github/agent-policies/{engines.SLUG}.yml": "policy.yml",
    "tests/test_agent.py": "test_agent.py",
    "tests/policy.yml": "policy_cases.yml",
    "docs/RUNBOOK.md": "RUNBOOK.md",
    "requirements-agent.in": "requirements-agent.in",
    "requirements-agent.lock": "requirements-agent.lock",
    "services.yml": "services.yml",
    "tests/conversation.json": "conversation.json",
    "tests/example_service.py": "example_service.py",
}


# All tests of one rendering come after one another: else every worker would make each of them.
@pytest.fixture(scope="module", params=list(COMBINATIONS.values()), ids=list(COMBINATIONS))
def given(request: pytest.FixtureRequest) -> dict[str, str]:
    return request.param


def test_nothing_is_left_unrendered(given: dict[str, str], render: Render) -> None:
    leftover = re.compile(r"\{\{-? *_?(cookiecutter|copier)|\{%-? *(if|for|set|raw|endraw|include|endif)")
    for name, entry in engines.tree(render(**given)).items():
        assert not name.endswith(".jinja")
        if name not in STATIC:
            assert not leftover.search(entry.data.decode()), name


PARSERS: dict[str, Callable[[str], object]] = {
    ".yml": partial(yaml.load, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)),  # where it is, ten times as fast
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".py": ast.parse,
}


@cache  # nearly all files are the same whatever the answers
def parse(suffix: str, data: bytes) -> None:
    if suffix in PARSERS:
        PARSERS[suffix](data.decode("utf-8"))


def test_every_file_is_valid_in_its_own_language(given: dict[str, str], render: Render) -> None:
    for name, entry in engines.tree(render(**given)).items():
        try:
            parse(Path(name).suffix, entry.data)
        except (ValueError, SyntaxError, yaml.YAMLError) as problem:
            raise AssertionError(name) from problem


@cache
def whitespace(data: bytes) -> list[str]:
    """What is wrong with the whitespace of a text."""
    text = data.decode("utf-8")
    wrong = {
        "no line ending at its end": text and not text.endswith("\n"),
        "empty lines at its end": text.endswith("\n\n"),
        "a carriage return": "\r" in text,
        "whitespace at the end of a line": re.search(r"[ \t]$", text, re.MULTILINE),
    }
    return [what for what, found in wrong.items() if found]


def test_texts_end_with_one_line_ending_and_have_no_trailing_spaces(given: dict[str, str], render: Render) -> None:
    for name, entry in engines.tree(render(**given)).items():
        assert whitespace(entry.data) == [], name


def test_names_fit_every_system(given: dict[str, str], render: Render) -> None:
    reserved = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
    names = list(engines.tree(render(**given)))

    for name in names:
        assert len(name) < 120
        for part in name.split("/"):
            assert re.fullmatch(r"[A-Za-z0-9._-]+", part), name
            assert not part.endswith("."), name
            assert not reserved.match(part), name
    assert len({name.lower() for name in names}) == len(names)


def test_its_own_check_finds_nothing(given: dict[str, str], render: Render) -> None:
    """What checks is byte for byte what is there, which is one of the things that it checks."""
    project = render(**given)

    assert [each.line() for each in [*check.check(project), *check.notes(project)]] == []


def test_the_use_case_arrives_byte_for_byte(given: dict[str, str], render: Render) -> None:
    """The files pass through Jinja; whatever it might take for its own must not be in them."""
    source = REPOSITORY / "template" / "use_cases" / given["use_case"]
    project = render(**given)

    expected = {name: (source / seed).read_bytes() for name, seed in SEEDS.items() if (source / seed).exists()}
    assert {name: (project / name).read_bytes() for name in SEEDS if (project / name).exists()} == expected
    assert {seed for name, seed in SEEDS.items() if name in expected} == {
        path.name for path in source.iterdir() if path.is_file()
    }


def test_the_schedule_is_remembered_only_where_there_is_one(given: dict[str, str], render: Render) -> None:
    remembered = yaml.safe_load((render(**given) / ".copier-answers.yml").read_text(encoding="utf-8"))

    assert ("schedule_cron" in remembered) == ("schedule" in given["triggers"])


def test_nothing_of_the_template_itself_comes_along(render: Render) -> None:
    names = set(engines.tree(render()))

    assert not {name for name in names if name.startswith(("use_cases", "hooks", "copier", "cookiecutter"))}
    assert not {name for name in names if "__pycache__" in name or "_cache/" in name}


def test_litter_of_a_working_copy_stays_behind(template: Path, tmp_path: Path, render: Render) -> None:
    """A template folder without git, in which tools have run."""
    copy = tmp_path / "copy"
    shutil.copytree(template, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    engines.litter(copy)

    project = engines.run_copier(copy, tmp_path / "project", {"agent_name": engines.NAME})

    assert engines.tree(project) == engines.tree(render())


def test_licenses(render: Render) -> None:
    first = {
        license: (render(license=license) / "LICENSE").read_text(encoding="utf-8").splitlines()[0].strip()
        for license in ("MIT", "Apache-2.0", "Proprietary")
    }

    assert first == {
        "MIT": "MIT License",
        "Apache-2.0": "Apache License",
        "Proprietary": "Copyright your-org. All rights reserved.",
    }


def test_code_owners_are_the_approvers(render: Render) -> None:
    text = (render(approvers="octocat, acme/sre") / ".github/CODEOWNERS").read_text(encoding="utf-8")
    rules = [line for line in text.splitlines() if not line.startswith("#")]

    assert rules
    assert all(rule.endswith(" @octocat @acme/sre") for rule in rules)
    owned = {"/.github/", "/agent_runner.py", "/*.py", "/agent_runtime/", "/sdk/", "/services.yml"}
    assert owned <= {rule.split()[0] for rule in rules}
    blank = (render(approvers="octocat", use_case="blank") / ".github/CODEOWNERS").read_text(encoding="utf-8")
    assert "services.yml" not in blank, "it has none"


LOCKS = sorted((REPOSITORY / "template").rglob("*.lock"))


def pins(lock: Path) -> set[str]:
    """The versions that a lock names, with their markers."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return {line.rstrip(" \\") for line in lines if line[:1].isalpha()}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: "-".join(path.parts[-2:]))
def test_locks_name_packages_and_hashes_and_no_machine(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")

    assert "--hash=sha256:" in text
    assert not re.search(r"https?:|file:|--find-links|--index|(^|[ @])/\w", text)
    for pin in pins(lock):
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", pin), pin


@pytest.mark.parametrize("use_case", answers.USE_CASES)
def test_a_new_agent_has_the_runtimes_packages_in_the_same_versions(render: Render, use_case: str) -> None:
    project = render(use_case=use_case)
    runtime, agent = pins(project / "requirements.lock"), pins(project / "requirements-agent.lock")

    if answers.oldest_python(use_case) == "3.8":
        assert runtime < agent
        return
    # Resolved for fewer Pythons: fewer versions of each, and no other one.
    names = [{pin.partition("==")[0] for pin in found} for found in (runtime, agent)]
    assert names[0] < names[1]
    known = {pin.partition(" ;")[0] for pin in runtime}
    assert {pin.partition(" ;")[0] for pin in agent if pin.partition("==")[0] in names[0]} <= known


def imported(files: Iterable[Path]) -> set[str]:
    """The modules outside the standard library that these files import, at whatever place."""
    found: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    names = {name.partition(".")[0] for name in found}
    return names - sys.stdlib_module_names - {"agent_runner", "agent_runtime", "aimgentix"}


def required(listed: Path) -> set[str]:
    """The modules of the packages that a list asks for."""
    lines = listed.read_text(encoding="utf-8").splitlines()
    names = {re.split(r"[\[<>=]", line)[0] for line in lines if line and not line.startswith("#")}
    return {{"pyyaml": "yaml", "pydantic-ai-slim": "pydantic_ai"}.get(name, name) for name in names}


def test_what_the_runtime_asks_for_is_what_it_imports() -> None:
    runtime = REPOSITORY / "template" / "agent_runtime"
    toolkit = set(runtime.glob("toolkit/**/*.py"))

    # The jobs that send messages have a lock of their own.
    asked = [REPOSITORY / "template" / "requirements.in", REPOSITORY / "requirements" / "agent-notify.in"]

    # An auditor who checks the evidence of a log or of GitHub installs these, no job does: docs/AUDITOR.md says how.
    # What sigstore installs itself checks times that are signed.
    of_auditor = {"cryptography", "sigstore", "rfc3161_client"}

    assert imported(set(runtime.rglob("*.py")) - toolkit) == set().union(*map(required, asked)) | of_auditor


@pytest.mark.parametrize("use_case", answers.USE_CASES)
def test_what_an_agent_asks_for_is_what_it_and_its_toolkit_import(use_case: str, render: Render) -> None:
    project = render(use_case=use_case)
    modules = {path.stem: path for path in (project / "agent_runtime" / "toolkit").glob("*.py")}
    used, waiting = {project / "agent_runner.py"}, [project / "agent_runner.py"]
    while waiting:
        text = waiting.pop().read_text(encoding="utf-8")
        for line in re.findall(r"^ *from agent_runtime\.toolkit import (.+)$", text, re.MULTILINE):
            new = {modules[name.strip()] for name in line.split("#")[0].split(",")} - used
            used |= new
            waiting += new
    if use_case == "blank":  # which imports none yet, and has these three to begin with
        used |= {modules[name] for name in ("errors", "http", "waiting")}

    runtime = required(project / "requirements.in")
    assert imported(used) - runtime == required(project / "requirements-agent.in")
