"""What an answer to one of the template's questions may be.

The same rules stand as validators in the template's `copier.yml`; here they serve Cookiecutter's hooks and `make
check`.  Everything is pure and needs the standard library only.

One module, because it is the other half of one file: question by question it says what `copier.yml` says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Tuple

from agent_runtime import codes

UNKNOWN = codes.register(
    "ANS001",
    "no question has this name",
    "Look for a typo; the template's docs/reference/questions.md lists the questions",
)
MISSING = codes.register("ANS002", "a question has no answer", "Answer it")
TEXT = codes.register(
    "ANS003", "a text is not one plain line", "Remove line breaks, invisible characters and Jinja braces"
)
SLUG = codes.register("ANS004", "the slug is not valid", "Use lower-case words with hyphens, such as checkout-restart")
REPOSITORY = codes.register("ANS005", "the repository is not owner/name", "Write it as in its address on GitHub")
APPROVERS = codes.register(
    "ANS006", "an approver is not a possible name on GitHub", "Write logins or org/team, separated by commas"
)
CHOICE = codes.register("ANS007", "the answer is none of the choices", "Choose one of them")
CRON = codes.register(
    "ANS008", "GitHub does not accept the cron expression", "Write five fields: minute hour day month weekday"
)
TTL = codes.register("ANS009", "the time to live is out of range", "Write whole minutes, 1 to 43200")
PERMISSIONS = codes.register(
    "ANS010", "a permission is not one that a workflow can have", "Write permission scopes, separated by commas"
)
NAMES = codes.register(
    "ANS011",
    "a secret or variable of the agent can't have this name",
    "Use another name: GitHub, Python, the shell or the runtime use this one, or it is listed twice",
)
OIDC = codes.register(
    "ANS012", "GitHub binds identity tokens to environments, and private-free has none", "Answer no, or change the plan"
)
CONTAINER = codes.register(
    "ANS013", "the container image is not pinned by digest", "Write its name, @sha256: and its 64 hexadecimal digits"
)
RUNNER = codes.register("ANS014", "a label is not one that a runner can have", "Write labels, separated by commas")
PYTHON = codes.register("ANS015", "the agent's Python is not supported", "Choose one from 3.8 to 3.14")
TIMEOUT = codes.register("ANS016", "the timeout is out of range", "Write whole minutes, 1 to 360")
TOOLKIT = codes.register(
    "ANS017", "the toolkit has no such module", "Write names of modules of agent_runtime/toolkit, separated by commas"
)
NOT_ASKED = codes.register(
    "ANS018", "an answer is given to a question that is not asked", "Answer the question it depends on, or leave it out"
)
HOST = codes.register(
    "ANS019",
    "the audit host is not a host",
    "Write its name, with its port where it has one, without https:// and path",
)

USE_CASES = (
    "service-restart",
    "config-rollback",
    "scale-resources",
    "security-response",
    "incident-response",
    "disk-cleanup",
    "blank",
)
TRIGGERS = ("manual+alert", "manual", "manual+schedule", "manual+alert+schedule")
YES_NO = ("no", "yes")
PLANS = ("public", "private-enterprise", "private-team", "private-free")
LICENSES = ("MIT", "Apache-2.0", "Proprietary")

# Every module of the toolkit and what it imports of the others; each comes before what it imports.  `errors` is always
# there.
TOOLKIT_MODULES: Dict[str, Tuple[str, ...]] = {
    "model": ("http", "providers"),
    "providers": ("http",),
    "usage": ("metrics",),
    "scaling": ("git", "http", "metrics", "services"),
    "rollback": ("git", "http"),
    "keys": ("http", "metrics", "services"),
    "files": (),
    "health": ("http",),
    "git": ("http", "waiting"),
    "services": ("metrics",),
    "metrics": ("http", "waiting"),
    "http": (),
    "waiting": (),
    "errors": (),
}

# What sends messages, and what only a gate in an issue runs.  What a reader of a bundle needs is everywhere.
NOTIFY_FILES = ("requirements-notify.lock", "agent_runtime/commands/notify.py", "agent_runtime/gate/notify.py")
ISSUE_FILES = tuple(f"agent_runtime/{room}/{name}.py" for room in ("commands", "gate") for name in ("ask", "claim"))

_TOOLKIT_OF_USE_CASE = {
    "service-restart": "health, http, services, waiting",
    "config-rollback": "git, health, http, metrics, rollback, services, waiting",
    "scale-resources": "http, metrics, scaling, services, usage, waiting",
    "security-response": "keys, services, waiting",
    "incident-response": "git, http, metrics, model, services, waiting",
    "disk-cleanup": "files, services",
    "blank": "http, errors, waiting",
}
# What else depends on the use case: how a model is reached, and the packages that speak to it.
_OF_USE_CASE = {
    ("investigate_secrets", "incident-response"): "MODEL_API_KEY",
    ("investigate_variables", "incident-response"): "MODEL_NAME, MODEL_ADDRESS",
}
_OLDEST_PYTHON = {"incident-response": "3.11"}
# What holds where a question of the group `advanced` is not asked; `toolkit` depends on the use case.
_UNASKED = {
    "investigate_secrets": "",
    "investigate_variables": "",
    "investigate_oidc": "no",
    "investigate_container": "",
    "act_secrets": "AGENT_ACT_TOKEN",
    "act_variables": "",
    "investigate_runner": "ubuntu-latest",
    "act_runner": "ubuntu-latest",
    "gate_runner": "ubuntu-latest",
    "ephemeral_runners": "no",
    "agent_python": "3.13",
    "act_timeout_minutes": "30",
    "audit_host": "",
    "notify": "no",
    "toolkit": "",
}
ADVANCED = tuple(_UNASKED)
DEFAULT_CRON = "17 */6 * * *"

# The scopes of a workflow's token to which `write` can be given.  The ones that only serve GitHub itself are left out.
PERMISSION_SCOPES = (
    "actions",
    "checks",
    "contents",
    "deployments",
    "id-token",
    "issues",
    "packages",
    "pull-requests",
    "statuses",
)

MAX_APPROVERS = 6  # GitHub's limit for the required reviewers of one environment
MAX_TTL_MINUTES = 30 * 24 * 60  # GitHub fails a job that waited 30 days for its environment
MAX_TIMEOUT_MINUTES = 6 * 60  # GitHub ends a job on its own machines after 6 hours
MAX_NAMES = 20
MAX_LABELS = 8

# Control and format characters: nobody sees them, and they can make a text look like another one.
_INVISIBLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\uffff"
    r"\U000e0000-\U000e0fff]"
)
_JINJA = re.compile(r"\{[{%#]|[%#}]\}")
_SLUG = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")

# A login has 1 to 39 letters, digits and single hyphens inside; GitHub Enterprise adds `_` and a short code of 3 to 8
# letters and digits to the logins that it manages.
_LOGIN = r"(?=[A-Za-z0-9-]{1,39}(?:[_/]|\Z))[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*(?:_[A-Za-z0-9]{3,8})?"
_APPROVER = re.compile(_LOGIN + r"(?:/[A-Za-z0-9][A-Za-z0-9_-]{0,99})?\Z")
_REPOSITORY = re.compile(_LOGIN + r"/(?!\.{1,2}\Z)(?!.*\.[Gg][Ii][Tt]\Z)[A-Za-z0-9._-]{1,100}\Z")

# Names of secrets and variables that the runtime may hand to a team's steps: not what GitHub, Python, the loader, the
# shell or the runtime itself read.
_NAME = re.compile(
    r"(?!(?:GITHUB|ACTIONS|RUNNER|INPUT|LD|AIMGENTIX)_|PYTHON|AGENT_(?!ACT_TOKEN\Z|OWN_.)"
    r"|(?:PATH|HOME|BASH_ENV|ENV|NODE_OPTIONS|TARGET_RESOURCE|ACTION_CONTEXT|TRIGGER_SOURCE|TRACE_ID|DRY_RUN"
    r"|APPROVED_DIGEST)\Z)[A-Z_][A-Z0-9_]{0,99}\Z"
)
_IMAGE = re.compile(
    r"(?=.{1,330}\Z)(?:[A-Za-z0-9.-]+(?::[0-9]{1,5})?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?@sha256:[0-9a-f]{64}\Z"
)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_HOST = re.compile(
    r"(?=.{1,253}(?::|\Z))[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[1-9][0-9]{0,4})?\Z"
)
_PYTHON = re.compile(r"3\.(?:[89]|1[0-4])\Z")

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True)
class AnswerProblem:
    """One answer that is invalid.

    Arguments:
        code: id of a registered code.
        question: the name of the question.
        message: one line: what is expected.
    """

    code: str
    question: str
    message: str

    def line(self) -> str:
        """The one line for a person."""
        return f"{self.code}: {self.question}: {self.message}"


def _text(limit: int) -> Callable[[str], bool]:
    def accepts(value: str) -> bool:
        plain = not _INVISIBLE.search(value) and not _JINJA.search(value)
        return plain and 1 <= len(value) <= limit and value == value.strip()

    return accepts


def listed(value: str) -> List[str]:
    """The items of an answer that is a list; an empty answer has none."""
    return [item.strip(" ") for item in value.split(",")] if value else []


def _list(accepts: Callable[[str], Any], least: int = 0, most: int = 1000) -> Callable[[str], bool]:
    """A rule for lists: how many items, none twice whatever its case, and what each may be."""

    def accepts_all(value: str) -> bool:
        items = listed(value)
        unique = {item.lower() for item in items}
        return least <= len(unique) == len(items) <= most and all(accepts(item) for item in items)

    return accepts_all


def _minutes(limit: int) -> Callable[[str], bool]:
    return lambda value: bool(re.match(r"[1-9][0-9]{0,4}\Z", value)) and int(value) <= limit


def _cron_value(text: str, low: int, high: int, names: Any = ()) -> Optional[int]:
    """The number that `text` means in a field, or None where it means none."""
    if text.lower() in names:
        return low + int(names.index(text.lower()))
    if re.match(r"[0-9]{1,2}\Z", text) and low <= int(text) <= high:
        return int(text)
    return None


def _cron_part(part: str, low: int, high: int, names: Any) -> bool:
    """Whether one element of a field's list is `*`, a value or a range, with or without a step."""
    base, slash, step = part.partition("/")
    if slash and not _cron_value(step, low, high):
        return False
    if base == "*":
        return True
    ends = [_cron_value(end, low, high, names) for end in base.split("-")]
    if len(ends) > 2 or any(end is None for end in ends):
        return False
    return ends == sorted(ends, key=int)  # type: ignore[arg-type]


def _cron(value: str) -> bool:
    """Whether GitHub takes `value`: five POSIX fields with names for months and weekdays, no seconds, no macros.

    Source: GitHub's workflow syntax, `on.schedule`, and its language service's parser.
    """
    limits = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 6, _WEEKDAYS))
    fields = value.split(" ")
    if len(value) > 100 or len(fields) != len(limits):
        return False
    return all(
        _cron_part(part, low, high, names)
        for field, (low, high, names) in zip(fields, limits)
        for part in field.split(",")
    )


@dataclass(frozen=True)
class Rule:
    """What an answer may be; the message helps most before its first semicolon, and fits 100 columns with its code."""

    code: str
    message: str
    accepts: Callable[[str], Any]


def _choice(choices: Sequence[str]) -> Rule:
    return Rule(CHOICE, f"choose one of: {', '.join(choices)}", lambda value: value in choices)


_YES_NO_RULE = _choice(YES_NO)
_NAME_RULE = Rule(
    NAMES,
    "names such as METRICS_TOKEN; 20 at most, none twice, none of GitHub, Python or the runtime",
    _list(_NAME.match, most=MAX_NAMES),
)
_RUNNER_RULE = Rule(
    RUNNER,
    "labels such as self-hosted, linux; 1 to 8 different ones of letters, digits and . _ -",
    _list(_LABEL.match, 1, MAX_LABELS),
)

# Every question, in the order in which both engines ask.
RULES: Dict[str, Rule] = {
    "agent_name": Rule(
        TEXT, "1 to 80 visible characters, without {{ {% {#; one line, such as Checkout Restart", _text(80)
    ),
    "agent_slug": Rule(
        SLUG,
        "lower case with hyphens, like checkout-restart; 2 to 50 letters and digits, a letter first",
        lambda value: 2 <= len(value) <= 50 and _SLUG.match(value),
    ),
    "description": Rule(TEXT, "1 to 200 visible characters, without {{ {% {#; one line", _text(200)),
    "github_repository": Rule(REPOSITORY, "owner/name, such as acme/checkout-restart", _REPOSITORY.match),
    "approvers": Rule(
        APPROVERS,
        "1 to 6 logins or org/team, like octocat, acme/sre; different ones, separated by commas",
        _list(_APPROVER.match, 1, MAX_APPROVERS),
    ),
    "use_case": _choice(USE_CASES),
    "triggers": _choice(TRIGGERS),
    "schedule_cron": Rule(CRON, "five fields in UTC, such as 17 */6 * * *; what GitHub accepts", _cron),
    "approval_ttl_minutes": Rule(TTL, "whole minutes, 1 to 43200 (30 days)", _minutes(MAX_TTL_MINUTES)),
    "act_permissions": Rule(
        PERMISSIONS,
        "scopes such as issues, or nothing; different ones of those in the question",
        _list(PERMISSION_SCOPES.__contains__),
    ),
    "auto_approval": _YES_NO_RULE,
    "repository_plan": _choice(PLANS),
    "license": _choice(LICENSES),
    "advanced": _YES_NO_RULE,
    "investigate_secrets": _NAME_RULE,
    "investigate_variables": _NAME_RULE,
    "investigate_oidc": _YES_NO_RULE,
    "investigate_container": Rule(
        CONTAINER,
        "name@sha256: with 64 hex digits; an image pinned by its digest, or nothing",
        lambda value: not value or _IMAGE.match(value),
    ),
    "act_secrets": _NAME_RULE,
    "act_variables": _NAME_RULE,
    "investigate_runner": _RUNNER_RULE,
    "act_runner": _RUNNER_RULE,
    "gate_runner": _RUNNER_RULE,
    "ephemeral_runners": _YES_NO_RULE,
    "agent_python": Rule(PYTHON, "3.8 to 3.14, such as 3.13", _PYTHON.match),
    "act_timeout_minutes": Rule(TIMEOUT, "whole minutes, 1 to 360 (6 hours)", _minutes(MAX_TIMEOUT_MINUTES)),
    "audit_host": Rule(
        HOST,
        "a host such as audit.example.com; lower case, with a port where it has one, no https://",
        lambda value: not value or _HOST.match(value),
    ),
    "notify": _YES_NO_RULE,
    "toolkit": Rule(
        TOOLKIT,
        "modules such as http, waiting; different ones of those in the question",
        _list(TOOLKIT_MODULES.__contains__),
    ),
}

QUESTIONS = tuple(RULES)

OIDC_NEEDS_ENVIRONMENT = "no, as private-free has no environments; GitHub binds identity tokens to them"
PYTHON_OF_USE_CASE = "{} or newer for {}; what speaks to its model needs it"
SECRETS_APART = "none of investigate_secrets; in private-free nothing else keeps them apart"

# The lists that the names of another list of the same job must not be in.
_SAME_JOB = {"investigate_variables": "investigate_secrets", "act_variables": "act_secrets"}


def asked(question: str, answers: Mapping[str, Any]) -> bool:
    """Whether the other answers let a question be asked; where not, its default holds and no engine records it."""
    if question == "schedule_cron":
        return "schedule" in str(answers.get("triggers"))
    return question not in ADVANCED or answers.get("advanced") == "yes"


def unasked(question: str, answers: Mapping[str, Any]) -> str:
    """What holds where a question is not asked."""
    if question == "schedule_cron":
        return DEFAULT_CRON
    use_case = str(answers.get("use_case"))
    if question == "toolkit":
        return _TOOLKIT_OF_USE_CASE.get(use_case, "")
    return _OF_USE_CASE.get((question, use_case), _UNASKED[question])


def oldest_python(use_case: str) -> str:
    """The oldest Python that a use case's packages are there for."""
    return _OLDEST_PYTHON.get(use_case, "3.8")


def toolkit_modules(named: Iterable[str]) -> FrozenSet[str]:
    """The modules that the answer `toolkit` brings: those that it names, what they import, and `errors`."""
    wanted = {"errors", *named}
    for module, imports in TOOLKIT_MODULES.items():
        if module in wanted:
            wanted.update(imports)
    return frozenset(wanted)


def left_out(*, by_issue: bool, notify: bool) -> Tuple[str, ...]:
    """The files that a repository with these answers does not have."""
    return (() if notify else NOTIFY_FILES) + (() if by_issue else ISSUE_FILES)


def check(question: str, value: Any, answers: Mapping[str, Any] = {}) -> Optional[AnswerProblem]:
    """Return what is wrong with one answer, or None.

    Arguments:
        question: a name; any other than the template's questions is a problem of its own (ANS001).
        value: text, or what YAML makes of an unquoted number or no.
        answers: the others, where they are known: some answers exclude each other.
    """
    rule = RULES.get(question)
    if rule is None:
        return AnswerProblem(UNKNOWN, question, "no question has this name")
    if value is True and rule is _YES_NO_RULE:
        return AnswerProblem(
            rule.code, question, rule.message + "; in YAML with quotes, as it reads an unquoted yes as true"
        )
    value = _text_of(value)
    if not isinstance(value, str) or not rule.accepts(value):
        return AnswerProblem(rule.code, question, rule.message)
    oldest = oldest_python(str(answers.get("use_case")))
    if question == "agent_python" and int(value[2:]) < int(oldest[2:]):
        return AnswerProblem(rule.code, question, PYTHON_OF_USE_CASE.format(oldest, answers["use_case"]))
    if question in _SAME_JOB and _common(value, answers.get(_SAME_JOB[question])):
        return AnswerProblem(rule.code, question, rule.message)
    if answers.get("repository_plan") == "private-free":  # no environments: what one job reads, every job can read
        if question == "investigate_oidc" and value == "yes":
            return AnswerProblem(OIDC, question, OIDC_NEEDS_ENVIRONMENT)
        if question == "act_secrets" and _common(value, answers.get("investigate_secrets")):
            return AnswerProblem(rule.code, question, SECRETS_APART)
    return None


def _text_of(value: Any) -> Any:
    """An answer as the engines write it: a number by its digits, and the false that YAML reads for an unquoted no."""
    if isinstance(value, bool):
        return value if value else "no"
    return str(value) if isinstance(value, (int, float)) else value


def _common(value: str, other: Any) -> bool:
    return not {*listed(value)}.isdisjoint(listed(str(other or "")))


def validate(answers: Mapping[str, Any]) -> List[AnswerProblem]:
    """Return every problem of a complete set of answers, in the order of the questions; unknown names come last.

    Names that start with an underscore belong to the engines and are passed over.  A question that is not asked needs
    no answer, and takes no other than its default.
    """
    problems = []
    for question in QUESTIONS:
        if question not in answers:
            if asked(question, answers):
                problems.append(AnswerProblem(MISSING, question, "the answer is missing"))
        elif asked(question, answers):
            problem = check(question, answers[question], answers)
            if problem:
                problems.append(problem)
        elif _text_of(answers[question]) != unasked(question, answers):
            needed = "a schedule among the triggers" if question == "schedule_cron" else "advanced=yes"
            problems.append(AnswerProblem(NOT_ASKED, question, f"it needs {needed}"))
    for name in answers:
        if not str(name).startswith("_") and name not in RULES:
            problems.append(AnswerProblem(UNKNOWN, str(name), "no question has this name"))
    return problems
