"""The template comes into a repository that was written by hand: what is added, what stays, what is left to do."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from agent_runtime import codes
from agent_runtime.local import check
from agent_runtime.local.update import problems
from agent_runtime.local.update.files import File
from agent_runtime.local.update.git import GitFailed, line
from agent_runtime.local.update.owners import TEAM, TEMPLATE, Owners
from tools.adoption.todo import Todo

AGENT = "agent_runner.py"
TESTS = "tests/test_agent.py"
# How a file of the template is named where the team has another one at its place.
BESIDE = ".template"

# The template's tests of its example agent; a team with an agent has no use for them.
_OF_EXAMPLE = (TESTS, "tests/conversation.json", "tests/example_service.py", "tests/policy.yml")
_LICENSE = re.compile(r"(LICEN[CS]E|COPYING)\b[^/]*\Z", re.IGNORECASE)
_LICENSES = {"MIT": b"MIT License", "Apache-2.0": b"Apache License"}
# Files of which every line stands for itself.
_LINE_BY_LINE = (".gitignore", ".gitattributes", ".github/CODEOWNERS")
# The comment before the part of a page that is the template's.
_PART = "<!-- template:begin"
_GITHUB = re.compile(r"github\.com[:/]([^/]+/[^/]+?)(?:\.git)?/?\Z")
_RESULTS = ("InvestigationResult", "ProposedAction", "ActionResult", "Finding", "RiskLevel", "Severity", "ActionStatus")


def answers_for(root: Path, ours: Mapping[str, File]) -> dict[str, str]:
    """The answers that a repository gives by itself."""
    found = {"agent_name": root.name.replace("-", " ").replace("_", " ").title(), "use_case": "blank"}
    try:
        remote = _GITHUB.search(line(root, "remote", "get-url", "origin"))
    except GitFailed:
        remote = None
    if remote:
        found["github_repository"] = remote.group(1)
    text = b"".join(file.data for name, file in ours.items() if _LICENSE.match(name))
    found["license"] = next((name for name, words in _LICENSES.items() if words in text), "Proprietary")
    return found


def merge(ours: Mapping[str, File], rendered: Mapping[str, File]) -> dict[str, File]:
    """The files that a rendering adds; where the team has another one, it stays, and the template's comes beside it.

    Raises:
        BadInput: a file is where a folder has to be, or the other way round, or a name is taken.
    """
    owners = Owners(rendered)
    folders = {parent.as_posix(): name for name in ours for parent in Path(name).parents}
    added = {}
    for name, file in rendered.items():
        if (name in _OF_EXAMPLE and AGENT in ours) or (_LICENSE.match(name) and any(map(_LICENSE.match, ours))):
            continue
        inside = next((parent.as_posix() for parent in Path(name).parents if parent.as_posix() in ours), None)
        if inside or name in folders:
            what = f"{inside} is a file here" if inside else f"{name} is a folder here"
            raise codes.BadInput(problems.IN_THE_WAY, f"{what}, and the template has {name}")
        if name not in ours:
            added[name] = file
        elif ours[name] != file and owners.of(name) != TEAM:
            if name + BESIDE in ours:
                raise codes.BadInput(problems.IN_THE_WAY, f"{name}{BESIDE} is there, and {name} is not the template's")
            added[name + BESIDE] = file
    return added


def todos(ours: Mapping[str, File], rendered: Mapping[str, File], added: Collection[str], tree: Path) -> Iterator[Todo]:
    """What is left to do, the agent first.

    Arguments:
        tree: the files of the branch, which the repository's own check judges.
    """
    owners = Owners(rendered)
    yield from _agent(ours, rendered)
    yield from _others(ours)
    named = set()
    for name in sorted(each.removesuffix(BESIDE) for each in added if each not in rendered):
        named |= {name, name + BESIDE}
        yield _beside(name, owners.of(name), rendered[name].data)
    yield from _problems(check.check(tree), named, ours)


def _agent(ours: Mapping[str, File], rendered: Mapping[str, File]) -> Iterator[Todo]:
    if AGENT not in ours:
        yield Todo(AGENT, "it is an example: decide in investigate() and do one thing in act(), as your agent does")
    else:
        yield from _runner(ours[AGENT].data)
        if TESTS not in ours:
            what = "write it: what the agent proposes, and that its policy lets a reviewer decide on it"
            without = "" if any(re.search(r"(^|/)test_[^/]*\.py\Z", name) for name in ours) else "; make test needs one"
            yield Todo(TESTS, what + without)
    (policy,) = (name for name in rendered if name.startswith(".github/agent-policies/"))
    if policy not in ours:
        yield Todo(policy, "it allows an example's action: allow those that your agent proposes, as narrow as they are")
    if "requirements.txt" in ours:
        what = "name the packages of requirements.txt that the agent imports"
        yield Todo("requirements-agent.in", what, ("make lock",))


def _runner(source: bytes) -> Iterator[Todo]:
    """How a file that knows nothing of the runtime becomes an agent of it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # found by the check
        return
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    if any(str(module).split(".")[0] == "agent_runtime" for module in modules):
        return
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = {node.name: {each.name for each in node.body if isinstance(each, ast.FunctionDef)} for node in classes}
    agents = [name for name, found in methods.items() if {"investigate", "act"} <= found]
    agent = agents[-1] if agents else "the class with investigate() and act()"
    own = [f"{node.name} (line {node.lineno})" for node in classes if node.name in (*_RESULTS, "AgentRunner")]
    yield Todo(
        AGENT,
        f"make {agent} a subclass of agent_runtime.AgentRunner that returns the results of agent_runtime"
        + (f", instead of its own {', '.join(own)}," if own else "")
        + f" and end the file with: raise SystemExit({agents[-1] if agents else 'NAME'}.main())",
    )


def _others(ours: Mapping[str, File]) -> Iterator[Todo]:
    for name in ("CODEOWNERS", "docs/CODEOWNERS"):
        if name in ours and ".github/CODEOWNERS" not in ours:
            yield Todo(name, "GitHub reads .github/CODEOWNERS instead of it now: move its lines there")


def _beside(name: str, owner: str, data: bytes) -> Todo:
    here, beside = shlex.quote(name), shlex.quote(name + BESIDE)
    if owner == TEMPLATE:
        what = "the template needs its own file here: move what you need of yours elsewhere, then take the template's"
        return Todo(name, what, (f"git mv --force {beside} {here}",))
    if name in _LINE_BY_LINE:
        what = f"yours stayed: add the lines of {name}{BESIDE}"
        return Todo(name, what, (f"(echo; cat {beside}) >> {here}", f"git rm --quiet {beside}"))
    if _PART.encode() in data:
        what = f"yours stayed: put the part of {name}{BESIDE} between the comments into it, which updates keep current"
        part = f"sed -n '/{_PART}/,/<!-- template:end/p' {beside} >> {here}"
        return Todo(name, what, (part, f"git rm --quiet {beside}"))
    what = f"yours stayed: copy what you want from {name}{BESIDE}, then remove that"
    return Todo(name, what, (f"git rm --quiet {beside}",))


def _problems(found: Iterable[check.CheckProblem], named: Collection[str], ours: Mapping[str, File]) -> Iterator[Todo]:
    """What the repository's own check says, where nothing above is about the same file."""
    for problem in found:
        path = problem.path.partition(":")[0]
        if path in named:
            continue
        if problem.code == check.FOREIGN and path in ours:
            what = "it is in a folder of the template's: move it elsewhere if you need it, else remove it"
            yield Todo(path, what, (f"git rm --quiet {shlex.quote(path)}",))
        else:
            yield Todo(problem.path, f"{problem.code}: {problem.message.rstrip('.')}. {problem.fix}")
