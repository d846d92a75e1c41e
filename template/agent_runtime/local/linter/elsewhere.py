"""Workflows beside the gate's: only what protects the gate is asked of them.

Patterns describe what an expression could become; `*` stands for any text: `deploy-${{ github.ref }}` is
`deploy-refs/*`.  Known are literals, inputs of type choice, what workflows of this repository pass on, literal
matrices, and what of `github` nobody chooses; all else could be anything.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Dict, Iterator, List, Mapping, Sequence, Set, Tuple

from agent_runtime.local.linter import actions
from agent_runtime.local.linter.values import NOTHING, Value, action, expressions, pieces
from agent_runtime.model import names
from agent_runtime.model.config import PLAN_WITHOUT_ENVIRONMENTS, Config

Violation = Tuple[str, int, str]  # code, line, message

ENVIRONMENTS = (
    *names.GATE_ENVIRONMENTS,
    names.ACT_ENVIRONMENT,
    names.AUTO_ENVIRONMENT,
    names.INVESTIGATE_ENVIRONMENT,
    names.NOTIFY_ENVIRONMENT,
    names.UPDATE_ENVIRONMENT,
)
GROUPS = ("agent-run-*", "agent-act-*")
# Generic words, such as Record, are left to everyone: nobody clicks on them.
JOB_NAMES = (
    names.APPROVE_JOB + "*",
    "Approve by comment",
    names.ACT_JOB_NAME,
    names.APPROVED_JOB_NAME + "*",
    names.AUTO_JOB_NAME + "*",
    names.SEAL_JOB,
    "Claim",
)
WORKFLOW_NAMES = ("Agent Runtime*",)

# Of the context `github`: what holds no text that somebody chose.
_NUMBERS = re.compile(
    r"github\.(?:run_id|run_number|run_attempt|sha|event_name|event\.number|event\.pull_request\.number)\Z"
)
# Events that outsiders cause, and that run with the rights of the default branch.
_OUTSIDERS = {"pull_request_target", "workflow_run", "issue_comment"}
_FETCHES = re.compile(r"\bgh\s+pr\s+checkout\b|\bpull/")
# More, or longer ones, could be anything.
_MOST, _LONGEST = 200, 2000


@dataclass(frozen=True)
class Repository:
    """The workflows of a repository by file name, and what it answered."""

    files: Mapping[str, Value]
    config: Config


def problems(name: str, repository: Repository) -> Iterator[Violation]:
    """What the workflow `name`, which is none of the gate's, may do to the gate."""
    root, config = repository.files[name], repository.config
    if _Place(repository, name).imitates(root.get("name"), WORKFLOW_NAMES):
        yield "CON35", root.get("name").line, "the workflow is called like one of the gate's"
    for holder in (root, *root.get("jobs").below().values()):
        group = _either(holder, "concurrency", "group")
        if _Place(repository, name, holder).could_be(group, GROUPS):
            yield "CON21", group.line, f"the concurrency group {group.text} could be one of the gate's"
    for id, job in root.get("jobs").below().items():
        place, environment = _Place(repository, name, job), _either(job, "environment", "name")
        if config.repository_plan != PLAN_WITHOUT_ENVIRONMENTS and place.could_be(environment, ENVIRONMENTS):
            yield "CON05", environment.line, f"the job {id} could use an environment of the gate: {environment.text}"
        title = job.get("name") if job.get("name").text else Value(job.line, text=id)
        if place.imitates(title, JOB_NAMES):
            yield "CON36", title.line, f"the job {id} is called like one of the gate's"
        yield from _calls(job, config)
    yield from _secrets(root, config)
    yield from _outsiders(root)


def _either(holder: Value, key: str, inner: str) -> Value:
    """A text that stands at a key, or one deeper."""
    value = holder.get(key)
    return value if value.text is not None else value.get(inner)


def meets(one: str, other: str) -> bool:
    """Whether some text fits both patterns."""
    todo, seen = [(0, 0)], set()
    while todo:
        i, j = todo.pop()
        if (i, j) in seen:
            continue
        seen.add((i, j))
        here, there = one[i : i + 1], other[j : j + 1]
        if not here and not there:
            return True
        if here == "*":
            todo += [(i + 1, j), *([(i, j + 1)] if there else [])]
        if there == "*":
            todo += [(i, j + 1), *([(i + 1, j)] if here else [])]
        if here and here == there:
            todo.append((i + 1, j + 1))
    return False


def _split(body: str, operator: str) -> List[str]:
    """The parts of an expression between an operator that is in no parentheses and no quotes."""
    parts, nesting, quoted, at = [""], 0, False, 0
    while at < len(body):
        if not quoted and not nesting and body.startswith(operator, at):
            parts.append("")
            at += len(operator)
            continue
        quoted = quoted != (body[at] == "'")
        nesting += 0 if quoted else {"(": 1, ")": -1}.get(body[at], 0)
        parts[-1] += body[at]
        at += 1
    return parts


@dataclass(frozen=True)
class _Place:
    """Where an expression stands, which decides what it could become; `depth` bounds how far it is followed."""

    repository: Repository
    file: str
    job: Value = NOTHING
    depth: int = 5

    def could_be(self, value: Value, taken: Sequence[str]) -> bool:
        """Whether a text could become one of `taken`, whatever its case."""
        found = self.patterns(value.text) if value.text is not None else ()
        return any(meets(pattern.strip().lower(), other.lower()) for pattern in found for other in taken)

    def imitates(self, value: Value, taken: Sequence[str]) -> bool:
        """Whether a name reads like one of `taken`; what its expressions add does not count."""
        found = self.patterns(value.text or "")
        texts = [" ".join(unicodedata.normalize("NFKC", text).casefold().replace("*", "\0").split()) for text in found]
        return any(meets(text, other.casefold()) for text in texts for other in taken)

    def patterns(self, text: str) -> Set[str]:
        """What a text with expressions could become."""
        if len(text) > _LONGEST:
            return {"*"}
        found = {""}
        for piece, computed in pieces(text):
            values = self._values(piece) if computed else {piece}
            found = {before + value for before in found for value in values}
            if len(found) > _MOST:
                return {"*"}
        return found

    def _values(self, body: str) -> Set[str]:
        """What an expression could be: `a && b || c` is b, c, or what is false of a."""
        found: Set[str] = set()
        for part in _split(body, "||"):
            operands = _split(part, "&&")
            found |= {"", "false", "0"} if len(operands) > 1 else set()
            last = operands[-1].strip()
            if self.depth and last.startswith("(") and last.endswith(")") and len(_split(last[1:-1], ")")) == 1:
                found |= replace(self, depth=self.depth - 1)._values(last[1:-1])
            else:
                found |= self._atom(last)
        return found

    def _atom(self, text: str) -> Set[str]:
        root, lower = self.repository.files[self.file], text.lower()
        literal = re.match(r"'((?:[^']|'')*)'\Z", text)
        context = re.match(r"(?:github\.event\.)?inputs\.([\w-]+)\Z|matrix\.([\w-]+)\Z", text, re.IGNORECASE)
        if literal:
            return {literal.group(1).replace("''", "'")}
        if _NUMBERS.match(lower):
            return {"#"}
        if lower == "github.ref":
            return {"refs/*"}
        if lower == "github.repository":
            return {self.repository.config.repository}
        if lower == "github.workflow" and "workflow_call" not in (root.get("on").below() or root.get("on").texts()):
            return {root.get("name").text or f".github/workflows/{self.file}"}  # in a called one it is the caller's
        if context and context.group(1) and self.depth:
            return self._input(context.group(1))
        return self._of_matrix(context.group(2)) if context and context.group(2) else {"*"}

    def _input(self, name: str) -> Set[str]:
        """What whoever starts the workflow, or calls it, can give it as an input."""
        files = self.repository.files
        on, found = files[self.file].get("on"), {""}
        dispatched, called = (on.get(event, "inputs", name) for event in ("workflow_dispatch", "workflow_call"))
        if dispatched.fields is not None:
            fixed = {"choice": set(dispatched.get("options").texts()), "boolean": {"true", "false"}, "number": {"#"}}
            found |= fixed.get(dispatched.get("type").text or "", {"*"})
        if called.fields is not None:
            found |= replace(self, depth=0).patterns(called.get("default").text or "")
            for caller, root in files.items():
                for job in root.get("jobs").below().values():
                    if (job.get("uses").text or "").replace("$/", "./", 1) == f"./.github/workflows/{self.file}":
                        given = job.get("with", name).text or ""
                        found |= _Place(self.repository, caller, job, self.depth - 1).patterns(given)
        return found

    def _of_matrix(self, key: str) -> Set[str]:
        matrix = self.job.get("strategy", "matrix")
        more = matrix.get("include").items or ()
        rows = [matrix.get(key), *(row.get(key) for row in more)]
        computed = any(value.text is not None for value in (matrix.get(key), matrix.get("include"), *more))
        found = {text for row in rows for text in row.texts()}
        return {"*"} if computed or not found or any("${{" in text for text in found) else found


def _names(body: str, secrets: Sequence[str]) -> bool:
    """Whether an expression reads one of these secrets, all at once, or one whose name is computed."""
    known = "|".join(map(re.escape, secrets)) or r"\Z\A"
    named = rf"\bsecrets\s*(?:\.\s*(?:{known})\b|\[\s*'(?:{known})'\s*\])"
    computed = r"\bsecrets\b(?!\s*(?:\.\s*[a-z_]|\[\s*'[^']*'\s*\]))"
    return bool(re.search(f"{named}|{computed}", body, re.IGNORECASE))


def _calls(job: Value, config: Config) -> Iterator[Violation]:
    """Secrets of the gate that a job hands to a workflow of another repository."""
    uses, secrets = job.get("uses"), job.get("secrets")
    if uses.text is None or uses.text.startswith(("./", "$/")):
        return
    taken = (*config.act_secrets, *config.investigate_secrets, "AIMGENTIX_API_KEY")
    if secrets.text is not None:  # inherit
        yield "CON07", secrets.line, f"every secret is handed to {uses.text}"
    for name, value in secrets.below().items():
        if name.upper() in taken or any(_names(body, taken) for body in expressions(value.text or "")):
            yield "CON07", value.line, f"a secret of the gate is handed to {uses.text}"


def _secrets(root: Value, config: Config) -> Iterator[Violation]:
    """Reads of the acting secret, where no environment keeps it."""
    if config.repository_plan != PLAN_WITHOUT_ENVIRONMENTS:
        return
    for value in root.walk():
        if any(_names(body, config.act_secrets) for body in expressions(value.text or "")):
            yield "CON07", value.line, "the secret that waits for an approval may be read here"


def _outsiders(root: Value) -> Iterator[Violation]:
    """Whether an outsider's code, or text, runs with this repository's token."""
    on = root.get("on")
    events = sorted(_OUTSIDERS & set(on.below() or on.texts()))
    steps = [step for job in root.get("jobs").below().values() for step in job.get("steps").items or ()]
    for step in steps if events else ():
        given: Dict[str, Value] = step.get("with").below() if action(step) == "actions/checkout" else {}
        chosen = [value for key, value in given.items() if key in ("ref", "repository") and "${{" in str(value.text)]
        chosen += [run for run in (step.get("run"),) if _FETCHES.search(run.text or "")]
        for value in chosen:
            yield "CON15", value.line, f"code that an outsider may have written runs after {events[0]}"
        for script in actions.scripts(step):
            yield "CON11", script.line, f"an expression is inside a script, after {events[0]}"
