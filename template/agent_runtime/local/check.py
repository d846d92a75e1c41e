"""Is this repository whole?  What `make check` asks.

It looks at the answers, the configuration, the policy and the workflows of the gate, at the syntax of what the
template wrote, at leftovers of rendering and merging, at files of the template that somebody edited, and at files that
hide a module of Python.  It needs PyYAML and no network, so that Cookiecutter's hook can run it on a fresh repository
too.

    python -m agent_runtime.local.check [FOLDER]

One module, because it is one list of questions, each a few lines, that is asked in one order.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import os
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

import yaml

from agent_runtime import codes
from agent_runtime.gate.policy import Policy
from agent_runtime.gate.policy_file import parse_policy
from agent_runtime.local import answers, linter, locks, policy_cases, policy_lint, proposals
from agent_runtime.local.codes import AGENT_MISSING, CASE_FAILED, RULE_NEVER
from agent_runtime.local.linter.actions import MANIFEST, OF_TEMPLATE, fingerprint
from agent_runtime.local.linter.rules import FILE
from agent_runtime.model import config

ANSWERS_FILE = ".copier-answers.yml"
AGENT = "agent_runner.py"

_UPDATE = "python agent_runner.py update --set NAME=VALUE"
_RESTORE = "copier recopy --vcs-ref=:current: --defaults --overwrite -x '**'"

ANSWERS = codes.register("CHK001", "the answers can't be read", "Restore " + ANSWERS_FILE + " from the history")
SYNTAX = codes.register("CHK002", "a file is not valid in its own language", "Fix the named line")
RENDERING = codes.register("CHK003", "a file was not rendered", "Report it to the template; restore the file")
EDITED = codes.register(
    "CHK004", "a file of the template was edited", "Move the change to a file of yours, or to the template; restore it"
)
LOST = codes.register("CHK005", "a file of the template is missing", "Restore it")
FOREIGN = codes.register("CHK006", "an unknown file is among the template's", "Move it out of this folder")
MERGE = codes.register("CHK007", "a merge was left unfinished", "Resolve the conflict and remove its markers")
MISMATCH = codes.register("CHK008", "configuration and answers differ", "Change the answer with: " + _UPDATE)

SHADOWING = codes.register(
    "CHK009",
    "a file of the repository shadows a module of Python or of a locked package",
    "Rename it: agent_runner.py, and what verifies before acting, would get it instead of the real one",
)

SHARED = codes.register(
    "CHK010",
    "two roles share self-hosted runners",
    "Give each role a label of its own, or answer ephemeral_runners=yes if each runner takes one job: " + _UPDATE,
)
NO_RELEASE = codes.register(
    "CHK011",
    "nothing says which release of the template this is",
    "Write the template's git address as _src_path, and the tag or commit that this repository came from as _commit; "
    "an update needs both",
)
NO_MODULE = codes.register(
    "CHK012",
    "the agent uses a module of the toolkit that is not here",
    # Not through agent_runner.py, which can't be loaded as it is.
    "Name it in the answer toolkit: python -I agent_runtime/__main__.py update --set advanced=yes --set toolkit=",
)

STALE_LOCK = codes.register(
    "CHK013",
    "the agent's lock does not match its requirements",
    "Regenerate it with: make lock",
)

# Where an answer has another name in the configuration.
CONFIGURED_AS = {"agent_slug": "agent", "agent_name": "name", "github_repository": "repository"}

# What is left where an engine did not render.
_UNRENDERED = re.compile(r"\{\{-?\s*_?(?:cookiecutter|copier)\b|\{%[-+]?\s*(?:if|for|set|raw|endraw|include|macro)\b")
_CONFLICT = re.compile(r"^(?:<{7}|>{7}|\|{7})(?: |$)", re.MULTILINE)


@dataclass(frozen=True)
class CheckProblem:
    """One thing that is wrong: its code, the file, what it is, and how to fix it."""

    code: str
    path: str
    message: str
    fix: str

    def line(self) -> str:
        """The one line for a person."""
        return f"{self.code}: {self.path}: {self.message.rstrip('.')}. {self.fix.rstrip('.')}"


def check(root: Path) -> List[CheckProblem]:
    """Return everything that is wrong with the agent repository at `root`, in the order of the questions above."""
    problems: List[CheckProblem] = []
    manifest = _manifest(root, problems)
    known = _answers(root, problems)
    problems += _configuration(root, known)
    if not (root / AGENT).is_file():
        problems.append(_problem(AGENT_MISSING, AGENT, "it is missing"))
    problems += _workflows(root)
    files = _files(root, manifest)
    for name in files:
        problems += _content(root, name, rendered=name in manifest["rendered"], expected=manifest["files"].get(name))
    problems += _leftovers(root, files)
    problems += _drift(root, manifest)
    problems += _shadowing(root)
    problems += [_problem(STALE_LOCK, locks.AGENT_LOCK, why) for why in locks.unmet(root)]
    problems += _compiled(root, manifest)
    problems += _missing_modules(root)
    problems += _proposals(root)
    return problems


def notes(root: Path) -> List[CheckProblem]:
    """Return what is not wrong with the repository at `root`, and will be in the way later."""
    known = _answers(root, [])
    return [] if not known or known.get("_commit") else [_problem(NO_RELEASE, ANSWERS_FILE, "it has no _commit")]


def _problem(code: str, path: str, message: str, fix: Optional[str] = None) -> CheckProblem:
    return CheckProblem(code, path, message, fix or codes.describe(code).fix)


def _manifest(root: Path, problems: List[CheckProblem]) -> Dict[str, Any]:
    try:
        value: Dict[str, Any] = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        unneeded = _unneeded(root)
        files = {name: text for name, text in value["files"].items() if name not in unneeded}
        return {"folders": list(value["folders"]), "files": files, "rendered": list(value["rendered"])}
    except FileNotFoundError:
        problems.append(_problem(LOST, MANIFEST, "it is missing", _restore(MANIFEST)))
    except (OSError, ValueError, KeyError, TypeError):
        problems.append(_problem(EDITED, MANIFEST, "it can't be read", _restore(MANIFEST)))
    return {"folders": [], "files": {}, "rendered": []}


def _unneeded(root: Path) -> List[str]:
    """What answers leave out of this repository."""
    names = {f"agent_runtime/toolkit/{module}.py": module for module in answers.TOOLKIT_MODULES}
    try:
        settings = config.load(root)
    except codes.AgentError:  # found by _configuration; until that is right, those that are here belong here
        optional = (*names, *answers.left_out(by_issue=False, notify=False))
        return [name for name in optional if not (root / name).exists()]
    needed = answers.toolkit_modules(settings.toolkit)
    by_issue = settings.approval_gate == config.ISSUE_GATE
    left_out = answers.left_out(by_issue=by_issue, notify=settings.notify)
    return [*left_out, *(name for name, module in names.items() if module not in needed)]


def _restore(path: str) -> str:
    return f"Restore it with: {_RESTORE} -x '!/{path}'"


def _answers(root: Path, problems: List[CheckProblem]) -> Mapping[str, Any]:
    try:
        known = yaml.safe_load((root / ANSWERS_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problems.append(_problem(ANSWERS, ANSWERS_FILE, f"it can't be read ({type(error).__name__})"))
        return {}
    if not isinstance(known, dict):
        problems.append(_problem(ANSWERS, ANSWERS_FILE, "it holds no answers"))
        return {}
    for problem in answers.validate(known):
        fix = "Remove the line" if problem.code == answers.UNKNOWN else "Change it with: " + _UPDATE
        problems.append(CheckProblem(problem.code, ANSWERS_FILE, f"{problem.question}: {problem.message}", fix))
    return known


def _configuration(root: Path, known: Mapping[str, Any]) -> Iterator[CheckProblem]:
    path = config.CONFIG_PATH.as_posix()
    try:
        settings = config.load(root)
        policy_path = settings.policy_path
        if not (root / policy_path).is_file():
            yield _problem(codes.POLICY_MISSING, policy_path.as_posix(), "it is missing")
        else:
            rules = parse_policy((root / policy_path).read_bytes(), policy_path.as_posix())
            yield from _policy(root, settings, rules)
            wanted = rules.most_approvals
            if wanted > len(settings.approvers) and not any("/" in name for name in settings.approvers):
                what = f"a rule asks for {wanted} approvals, and approvers of {path} are {len(settings.approvers)}"
                fix = "Name more: python agent_runner.py update --set approvers=LOGIN,LOGIN"
                yield _problem(codes.APPROVERS_IMPOSSIBLE, policy_path.as_posix(), what, fix)
    except codes.AgentError as error:
        where, _, what = error.message.partition(": ")  # both readers start with the file
        yield _problem(error.code, where, what)
        return
    gate = config.ISSUE_GATE if settings.repository_plan in config.PLANS_WITH_ISSUE_GATE else config.ENVIRONMENT_GATE
    if settings.approval_gate != gate:
        yield _problem(
            MISMATCH,
            path,
            f"approval_gate is {settings.approval_gate!r}, and repository_plan asks for {gate!r}",
        )
    for question in answers.QUESTIONS:
        here = getattr(settings, CONFIGURED_AS.get(question, question), None)
        if here is None or (question == "auto_approval" and gate == config.ISSUE_GATE):
            continue  # not the runtime's, or without an environment for it, whatever the answer
        answer = _recorded(question, known)
        if isinstance(here, tuple):
            here, answer = ",".join(here), ",".join(answers.listed(answer))
        elif isinstance(here, bool):
            here = "yes" if here else "no"
        if (question in known or not answers.asked(question, known)) and str(here) != answer:
            yield _problem(MISMATCH, path, f"{question} is {str(here)!r} here and {answer!r} in {ANSWERS_FILE}")
    yield from _shared_runners(settings)


def _policy(root: Path, settings: config.Config, rules: Policy) -> Iterator[CheckProblem]:
    """What of the policy can never be, and the team's cases that it does not meet."""
    for rule, why in policy_lint.never(rules):
        yield _problem(RULE_NEVER, settings.policy_path.as_posix(), f"{rule}: {why}")
    name = policy_cases.CASES.as_posix()
    if (root / name).is_file():
        for case in policy_cases.read(root / name, name):
            said = policy_cases.problem(case, rules, auto_approval=settings.auto_approval)
            if said:
                yield _problem(CASE_FAILED, f"{name}:{case.line}", f"{case.name}: {said}")


def _recorded(question: str, known: Mapping[str, Any]) -> str:
    """What the answers file says to a question; its default, where it is not asked."""
    if answers.asked(question, known):
        return str(known.get(question))
    return "" if question == "schedule_cron" else answers.unasked(question, known)


def _shared_runners(settings: config.Config) -> Iterator[CheckProblem]:
    """Pairs of roles of which one's jobs may come to a self-hosted runner of the other, and find what it left."""
    roles = {name: getattr(settings, name) for name in ("investigate_runner", "act_runner", "gate_runner")}
    own = {name: {label.lower() for label in labels} for name, labels in roles.items() if not _hosted(labels)}
    for one, other in itertools.combinations(own, 2):
        if not settings.ephemeral_runners and (own[one] <= own[other] or own[other] <= own[one]):
            message = f"{one} and {other} share self-hosted runners: a job finds there what one of the other role left"
            yield _problem(SHARED, config.CONFIG_PATH.as_posix(), message)


def _hosted(labels: Sequence[str]) -> bool:
    """Whether GitHub hosts the runner, a new one for each job."""
    return all(label.lower().startswith(("ubuntu-", "windows-", "macos-")) for label in labels)


def _workflows(root: Path) -> Iterator[CheckProblem]:
    """What opens the gate; without a configuration, which is a problem of its own, nobody knows how it is closed."""
    try:
        violations = linter.lint(root, config.load(root))
    except codes.AgentError:
        return
    for violation in violations:
        fix = codes.describe(violation.code).fix.replace(FILE, violation.path)
        yield _problem(violation.code, f"{violation.path}:{violation.line}", violation.message, fix)


def _files(root: Path, manifest: Mapping[str, Any]) -> List[str]:
    """The files to read: the template's, everything in .github, and what is in the root; the rest is the team's."""
    names = set(manifest["files"]) | set(manifest["rendered"])
    names |= {path.relative_to(root).as_posix() for path in (root / ".github").rglob("*")}
    names |= {path.name for path in root.iterdir()}
    return sorted(name for name in names if (root / name).is_file())


def _content(root: Path, name: str, *, rendered: bool, expected: Optional[str]) -> Iterator[CheckProblem]:
    try:
        data = (root / name).read_bytes()
        if fingerprint(data) == expected:
            return  # as the template made it
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if rendered or Path(name).suffix in _PARSERS:
            yield _problem(SYNTAX, name, f"it can't be read as text ({type(error).__name__})")
        return
    conflict = _CONFLICT.search(text)
    if conflict:
        yield _problem(MERGE, _at(name, text, conflict.start()), "a conflict marker is left")
        return
    leftover = _UNRENDERED.search(text) if rendered else None
    if leftover:
        yield _problem(
            RENDERING,
            _at(name, text, leftover.start()),
            f"{leftover.group()!r} was not rendered",
            _restore(name),
        )
        return
    parse = _PARSERS.get(Path(name).suffix)
    try:
        if parse:
            parse(text)
    except Exception as error:  # parsers of five kinds: whatever they raise means that the file is not valid
        yield _problem(SYNTAX, name, " ".join(str(error).split()))


def _at(name: str, text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"{name}:{line}"


def _parse_yaml(text: str) -> None:
    for _ in yaml.parse(text, Loader=yaml.SafeLoader):  # events only: tags may mean something to others
        pass


def _parse_toml(text: str) -> None:
    for name in ("tomllib", "tomli"):  # Python 3.8 to 3.10 have none of their own; pytest brings tomli there
        try:
            importlib.import_module(name).loads(text)
        except ImportError:
            continue
        return


_PARSERS: Dict[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".py": ast.parse,
    ".toml": _parse_toml,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
}


def _leftovers(root: Path, files: Sequence[str]) -> Iterator[CheckProblem]:
    for name in files:
        if (root / (name + ".rej")).exists():
            yield _problem(MERGE, name + ".rej", "a rejected change is left")
        if name.endswith(".jinja") or "{{" in name or "{%" in name:
            yield _problem(RENDERING, name, "its name was not rendered")


def _drift(root: Path, manifest: Mapping[str, Any]) -> Iterator[CheckProblem]:
    for name, expected in manifest["files"].items():
        if name in OF_TEMPLATE:
            continue  # the linter reports it
        try:
            found = fingerprint((root / name).read_bytes())
        except OSError:
            yield _problem(LOST, name, "it is missing", _restore(name))
            continue
        if found != expected:
            yield _problem(EDITED, name, "it is not as the template made it", _restore(name))
    expected_names = set(manifest["files"]) | {MANIFEST}
    for folder in manifest["folders"]:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            passing = "__pycache__" in name or "_cache/" in name or ".egg-info" in name
            if path.is_file() and name not in expected_names and not passing:
                yield _problem(FOREIGN, name, "it is not of the template")


# Packages whose module has another name; all others only write _ for -.
_MODULES = {"pyyaml": ("yaml", "_yaml")}
# Beside those of the lock: what installs them, and the SDK that is found in sdk/.
_OTHERS = ("pip", "setuptools", "pkg_resources", "aimgentix", "sitecustomize", "usercustomize")


def _shadowing(root: Path) -> Iterator[CheckProblem]:
    """Files and folders of the root that Python takes for a module which the agent needs from elsewhere."""
    taken = {*_standard_modules(), *_OTHERS}
    for package in (name for lock in locks.LOCKS for name in locks.pins(root / lock)):
        taken.update(_MODULES.get(package, (package.replace("-", "_"),)))
    for path in sorted(root.iterdir()):
        is_package = path.is_dir() and any(path.glob("__init__.*"))
        is_module = path.suffix in (".py", ".pyc", ".so", ".pyd") and not path.is_dir()
        if (is_package or is_module) and path.name.split(".")[0] in taken:
            yield _problem(SHADOWING, path.name, f"it shadows the module {path.name.split('.')[0]}")


def _compiled(root: Path, manifest: Mapping[str, Any]) -> Iterator[CheckProblem]:
    """Compiled code that Python runs whatever its source says.

    What Python itself keeps in `__pycache__` holds for one time and size of the source, which a checkout never brings
    back.  With a hash instead of these it is valid for a source that says something else, too.
    Source: https://peps.python.org/pep-0552/
    """
    folders = [root / "__pycache__", *(root / folder for folder in manifest["folders"])]
    for path in sorted(path for folder in folders for path in folder.rglob("*.pyc")):
        with path.open("rb") as stream:
            flags = stream.read(16)[4:8]
        if path.parent.name == "__pycache__" and flags[:1] not in (b"", b"\0"):
            name = path.relative_to(root).as_posix()
            yield _problem(SHADOWING, name, f"it is run instead of {path.name.split('.')[0]}.py", "Remove it")


def _missing_modules(root: Path) -> Iterator[CheckProblem]:
    """Imports of the team's files that a repository with a smaller toolkit can't give them."""
    try:
        named = set(config.load(root).toolkit)
    except codes.AgentError:  # found by _configuration
        return
    missing = {}
    for path in sorted([*root.glob("*.py"), *root.glob("tests/*.py")]):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # found by _content, where it is the template's or in the root
            continue
        imported = answers.TOOLKIT_MODULES.keys() & set(_toolkit_imports(tree))
        missing[path.relative_to(root).as_posix()] = imported - answers.toolkit_modules(named)
    fix = codes.describe(NO_MODULE).fix + ",".join(sorted(named.union(*missing.values())))
    for name, modules in missing.items():
        if modules:
            yield _problem(NO_MODULE, name, f"it imports {', '.join(sorted(modules))} of the toolkit", fix)


def _proposals(root: Path) -> Iterator[CheckProblem]:
    """Plans in the agent's code that `seal` would refuse whatever the agent finds."""
    try:
        tree = ast.parse((root / AGENT).read_bytes())
    except (OSError, SyntaxError, ValueError):  # found by check() and _content
        return
    for line, code, message in proposals.problems(tree):
        yield _problem(code, f"{AGENT}:{line}", message)


def _toolkit_imports(tree: ast.AST) -> Iterator[str]:
    prefix = "agent_runtime.toolkit"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == prefix:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith(prefix + "."):
            yield str(node.module)[len(prefix) + 1 :]
        elif isinstance(node, ast.Import):
            yield from (alias.name[len(prefix) + 1 :] for alias in node.names if alias.name.startswith(prefix + "."))


def _standard_modules() -> Iterator[str]:
    """The modules that come with this Python."""
    known = getattr(sys, "stdlib_module_names", None)
    if known is not None:  # since Python 3.10
        yield from known
        return
    yield from sys.builtin_module_names
    folder = Path(sysconfig.get_paths()["stdlib"])
    for path in (*folder.glob("*"), *folder.glob("lib-dynload/*")):
        is_module = path.suffix in (".py", ".so", ".pyd") or (path / "__init__.py").is_file()
        if is_module and path.name != "test":  # which nothing imports, and many repositories have such a folder
            yield path.name.split(".")[0]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Print one line for each problem of the repository at the given folder (default: here); return 0 or 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) > 1 or any(word.startswith("-") for word in given):
        print("usage: python -m agent_runtime.local.check [FOLDER]", file=sys.stderr)
        return codes.EXIT_BAD_INPUT
    root = Path(given[0] if given else os.curdir)
    problems = check(root)
    for problem in problems:
        print(problem.line(), file=sys.stderr)
    for note in notes(root):
        print("note: " + note.line(), file=sys.stderr)
    if not problems:
        print("check: answers, configuration, policy, workflows and the template's files are in order")
    return codes.EXIT_BAD_INPUT if problems else codes.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
