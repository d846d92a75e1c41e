"""What an answer to one of the template's questions may be.

The same rules stand as validators in the template's `copier.yml`; here they serve Cookiecutter's hooks and `make
check`.  Everything is pure and needs the standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional

from agent_runtime import codes

UNKNOWN = codes.register(
    "ANS001",
    "no question has this name",
    "Look for a typing error; the template's docs/reference/questions.md lists the questions",
)
MISSING = codes.register("ANS002", "a question has no answer", "Answer it")
TEXT = codes.register(
    "ANS003", "a text is not one plain line", "Remove line breaks, invisible characters and Jinja braces"
)
SLUG = codes.register("ANS004", "the slug is not valid", "Use lower-case words with hyphens, such as checkout-restart")
REPOSITORY = codes.register("ANS005", "the repository is not owner/name", "Write it as in its address on GitHub")
APPROVERS = codes.register("ANS006", "an approver can't be on GitHub", "Write logins or org/team, separated by commas")
CHOICE = codes.register("ANS007", "the answer is none of the choices", "Take one of the choices")
CRON = codes.register(
    "ANS008", "GitHub does not accept the cron expression", "Write five fields: minute hour day month weekday"
)
TTL = codes.register("ANS009", "the time to live is out of range", "Write whole minutes, 1 to 43200")
PERMISSIONS = codes.register(
    "ANS010", "a permission is not one that a workflow can have", "Write permission scopes, separated by commas"
)

USE_CASES = ("service-restart", "config-rollback", "scale-resources", "security-response", "blank")
TRIGGERS = ("manual+alert", "manual", "manual+schedule", "manual+alert+schedule")
AUTO_APPROVAL = ("no", "yes")
PLANS = ("public", "private-enterprise", "private-other")
LICENSES = ("MIT", "Apache-2.0", "Proprietary")

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

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True)
class Problem:
    """One answer that can't be used.

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


def _listed(value: str) -> List[str]:
    return [item.strip(" ") for item in value.split(",")]


def _approvers(value: str) -> bool:
    items = _listed(value)
    unique = {item.lower() for item in items}
    return len(unique) == len(items) <= MAX_APPROVERS and all(_APPROVER.match(item) for item in items)


def _permissions(value: str) -> bool:
    if value == "":
        return True
    items = _listed(value)
    return len(set(items)) == len(items) and set(items) <= set(PERMISSION_SCOPES)


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
class _Rule:
    code: str
    message: str
    accepts: Callable[[str], bool]


def _choice(choices: Any) -> _Rule:
    return _Rule(CHOICE, "choose one of: {}".format(", ".join(choices)), lambda value: value in choices)


# Every question, in the order in which both engines ask.
_RULES: Dict[str, _Rule] = {
    "agent_name": _Rule(
        TEXT, "use 1 to 80 visible characters on one line, without {{ {% {#, such as Checkout Restart", _text(80)
    ),
    "agent_slug": _Rule(
        SLUG,
        "use 2 to 50 lower-case letters, digits and single hyphens, starting with a letter, such as checkout-restart",
        lambda value: 2 <= len(value) <= 50 and bool(_SLUG.match(value)),
    ),
    "description": _Rule(TEXT, "use 1 to 200 visible characters on one line, without {{ {% {#", _text(200)),
    "github_repository": _Rule(
        REPOSITORY,
        "use owner/name as on GitHub, such as acme/checkout-restart",
        lambda value: bool(_REPOSITORY.match(value)),
    ),
    "approvers": _Rule(
        APPROVERS,
        "use 1 to 6 different GitHub logins or org/team, separated by commas, such as octocat, acme/sre",
        _approvers,
    ),
    "use_case": _choice(USE_CASES),
    "triggers": _choice(TRIGGERS),
    "schedule_cron": _Rule(CRON, "use five fields that GitHub accepts, in UTC, such as 17 */6 * * *", _cron),
    "approval_ttl_minutes": _Rule(
        TTL,
        "use whole minutes from 1 to 43200 (30 days)",
        lambda value: bool(re.match(r"[1-9][0-9]{0,4}\Z", value)) and int(value) <= MAX_TTL_MINUTES,
    ),
    "act_permissions": _Rule(
        PERMISSIONS,
        "leave it empty or use different scopes of: {}".format(", ".join(PERMISSION_SCOPES)),
        _permissions,
    ),
    "auto_approval": _choice(AUTO_APPROVAL),
    "repository_plan": _choice(PLANS),
    "license": _choice(LICENSES),
}

QUESTIONS = tuple(_RULES)


def check(question: str, value: Any) -> Optional[Problem]:
    """Return what is wrong with one answer, or None.

    Arguments:
        question: a name; any other than the template's questions is a problem of its own (ANS001).
        value: text; a whole number counts as its digits.
    """
    rule = _RULES.get(question)
    if rule is None:
        return Problem(UNKNOWN, question, "no question has this name")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and rule.accepts(value):
        return None
    return Problem(rule.code, question, rule.message)


def validate(answers: Mapping[str, Any]) -> List[Problem]:
    """Return every problem of a complete set of answers, in the order of the questions; unknown names come last.

    Names that start with an underscore belong to the engines and are passed over.  `schedule_cron` may be absent where
    `triggers` has no schedule.
    """
    problems = []
    for question in QUESTIONS:
        if question in answers:
            problem = check(question, answers[question])
            if problem:
                problems.append(problem)
        elif question != "schedule_cron" or "schedule" in str(answers.get("triggers")):
            problems.append(Problem(MISSING, question, "the answer is missing"))
    for name in answers:
        if not str(name).startswith("_") and name not in _RULES:
            problems.append(Problem(UNKNOWN, str(name), "no question has this name"))
    return problems
