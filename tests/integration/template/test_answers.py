"""What an answer may be: the rules in Python, Copier's validators, and a cron parser of somebody else agree."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from copier._user_data import AnswersMap, Question
from copier.errors import CopierError
from croniter import croniter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent_runtime.local import answers
from support import engines
from support.environment import REPOSITORY

NASTY = (
    "",
    " ",
    "-",
    "a\n",
    "\na",
    "a\x00b",
    "a\tb",
    "a\u202eb",
    "a\u200bb",
    "a\u2028b",
    "\ufeffa",
    "a\U000e0041b",
    "\ud800",
    "é",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "a{#b",
    "a}}b",
    "'",
    '"',
    "\\",
    "a'; rm -rf .",
    "null",
    "true",
    "٣",
    "1_0",
    "1e3",
    " 60",
    "../x",
    "x" * 300,
)

DIGEST = "0123456789abcdef" * 4
NAMES = [
    "",
    "METRICS_TOKEN",
    "_X, NO ,Y1",
    "AGENT_ACT_TOKEN,AGENT_OWN_KEY",
    "GITHUBX,RUNNERS,PATHS,HOME_,ENVIRONMENT,LDX,DRY_RUNS",
    "A" * 100,
    ",".join(f"N{number}" for number in range(20)),
]
LABELS = ["ubuntu-latest", "self-hosted, linux ,X64", "a.b_c-d", "0", "x" * 64, "a,b,c,d,e,f,g,h"]

GOOD: dict[str, list[Any]] = {
    "agent_name": ["X", "Checkout Restart", 'Füße \\ "d\'œuvre" 🚀', "{x}", "x" * 80],
    "agent_slug": ["ab", "checkout-restart", "a1-2-b", "x" * 50],
    "description": ["x", "100 % sure: yes!", "x" * 200],
    "github_repository": ["acme/x", "a-b/c.d_e-f", "jane_acme/x", "0/0", "a" * 39 + "/" + "b" * 100, "acme/.github"],
    "approvers": ["octocat", "octo-cat,acme/sre", "a, b ,c", "jane_acme", "ACME/Team_1-x", "a,b,c,d,e,f", "a" * 39],
    "use_case": list(answers.USE_CASES),
    "triggers": list(answers.TRIGGERS),
    "schedule_cron": [
        "17 */6 * * *",
        "0 0 1 1 0",
        "59 23 31 12 6",
        "5/15 0-23/2 1,15 JAN-DEC MON-FRI",
        "0 0 * feb,Mar sun",
        "00 09 * * *",
    ],
    "approval_ttl_minutes": ["1", "60", "43200", 60],
    "act_permissions": ["", "issues", "issues,contents", " id-token , actions "],
    "auto_approval": list(answers.YES_NO),
    "repository_plan": list(answers.PLANS),
    "license": list(answers.LICENSES),
    "advanced": list(answers.YES_NO),
    "investigate_secrets": NAMES,
    "investigate_variables": NAMES,
    "investigate_oidc": list(answers.YES_NO),
    "investigate_container": [
        "",
        f"alpine@sha256:{DIGEST}",
        f"ghcr.io/acme/agent_tools/x-y.z:1.2-rc_1@sha256:{DIGEST}",
        f"registry.example.com:5000/a@sha256:{DIGEST}",
    ],
    "act_secrets": NAMES,
    "act_variables": NAMES,
    "investigate_runner": LABELS,
    "act_runner": LABELS,
    "gate_runner": LABELS,
    "ephemeral_runners": list(answers.YES_NO),
    "agent_python": ["3.8", "3.9", "3.10", "3.14", 3.13],
    "act_timeout_minutes": ["1", "30", "360", 45],
    "audit_host": ["", "audit.example.com", "audit.example.com:8443", "audit", "10.0.0.7", "a-b.c-d.example"],
    "notify": list(answers.YES_NO),
    "toolkit": ["", "http", "errors", " http , waiting", "git,health,keys,metrics,rollback,scaling,services,usage"],
}

BAD_NAMES = [
    "lower",
    "A B",
    "A,",
    "A,,B",
    "A,A",
    "1A",
    "A-B",
    "A\n",
    "A" * 101,
    ",".join(f"N{number}" for number in range(21)),
    "GITHUB_TOKEN",
    "ACTIONS_X",
    "RUNNER_TEMP",
    "INPUT_X",
    "PYTHONPATH",
    "PYTHON",
    "LD_PRELOAD",
    "PATH",
    "HOME",
    "BASH_ENV",
    "ENV",
    "NODE_OPTIONS",
    "TARGET_RESOURCE",
    "ACTION_CONTEXT",
    "TRIGGER_SOURCE",
    "TRACE_ID",
    "DRY_RUN",
    "APPROVED_DIGEST",
    "AGENT_X",
    "AGENT_OWN_",
    "AGENT_ACT_TOKENS",
    "AIMGENTIX_API_KEY",
]
BAD_LABELS = ["", ",", "a,", "a b", "-a", "a\n", "x" * 65, "a,b,c,d,e,f,g,h,i", "a,A", "${{ x }}", "é"]

BAD: dict[str, list[Any]] = {
    "agent_name": ["", " x", "x ", "x" * 81, "a\nb", "{{ x }}", "a\u202eb"],
    "agent_slug": ["", "a", "A", "1a", "a_b", "a--b", "-a", "a-", "a b", "x" * 51, "ab\n", "é2"],
    "description": ["", "x" * 201, "a\nb", "{% x %}"],
    "github_repository": [
        "acme",
        "acme/",
        "/x",
        "a/b/c",
        "-a/x",
        "a-/x",
        "a--b/x",
        "a/..",
        "a/x.git",
        "a/x y",
        "a/x\n",
    ],
    "approvers": [
        "",
        ",",
        "a,",
        "a,,b",
        "@a",
        "-a",
        "a-",
        "a--b",
        "a b",
        "a.b",
        "a" * 40,
        "a/",
        "/b",
        "a/b/c",
        "a,A",
        "a,b,c,d,e,f,g",
        "a\n",
        "x_y",
        "team_much-too-long",
    ],
    "use_case": ["", "Blank", "restart"],
    "triggers": ["", "alert", "manual + alert"],
    "schedule_cron": [
        "",
        "@daily",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 0 *",
        "* * * 13 *",
        "* * * * 7",
        "*/0 * * * *",
        "*/60 * * * *",
        "5-1 * * * *",
        "1-2-3 * * * *",
        "1,,2 * * * *",
        "1/ * * * *",
        "/5 * * * *",
        "-1 * * * *",
        "* * L * *",
        "* * * * MON#1",
        "* * * JANUARY *",
        "* * * * FRI-MON",
        "*  * * * *",
        "* * * * * ",
        "*\t* * * *",
        "* * * *\n*",
        "? * * * *",
        "001 * * * *",
        "٣ * * * *",
    ],
    "approval_ttl_minutes": ["", "0", "-1", "43201", "1.5", "60m", "an hour", "060", True, None],
    "act_permissions": ["write-all", "issues,", "issues issues", "issues,issues", "Issues", "metadata", ","],
    "auto_approval": ["", "true", "Yes", "maybe", True],
    "repository_plan": ["", "private", "private-other"],
    "license": ["", "GPL-3.0", "mit"],
    "advanced": ["", "maybe", True],
    "investigate_secrets": BAD_NAMES,
    "investigate_variables": BAD_NAMES,
    "investigate_oidc": ["", "maybe", True],
    "investigate_container": [
        "alpine",
        "alpine:3.20",
        f"alpine@sha256:{DIGEST[1:]}",
        f"alpine@sha256:{DIGEST}0",
        f"alpine@sha256:{DIGEST.upper()}",
        f"alpine@md5:{DIGEST}",
        f"@sha256:{DIGEST}",
        f"a b@sha256:{DIGEST}",
        f"alpine@sha256:{DIGEST}\n",
        f"a/@sha256:{DIGEST}",
        f"Alpine@sha256:{DIGEST}",
        f"x'y@sha256:{DIGEST}",
        f"{'a' * 330}@sha256:{DIGEST}",
    ],
    "act_secrets": BAD_NAMES,
    "act_variables": BAD_NAMES,
    "investigate_runner": BAD_LABELS,
    "act_runner": BAD_LABELS,
    "gate_runner": BAD_LABELS,
    "ephemeral_runners": ["", "maybe", True],
    "agent_python": ["", "3", "3.7", "3.15", "3.1", "2.7", "3.13.1", "3.08", "3.13\n", "3,13", 3.1],
    "act_timeout_minutes": ["", "0", "-1", "361", "1.5", "030", "30m", None],
    "audit_host": [
        "https://audit.example.com",
        "audit.example.com/",
        "Audit.example.com",
        "audit.example.com:",
        "audit.example.com:0",
        "audit.example.com:123456",
        "user@audit.example.com",
        "audit..example.com",
        "-audit.example.com",
        "audit.example.com\n",
        "audit example",
        "a'b",
        "[::1]",
        "a" * 254,
    ],
    "notify": ["", "maybe", True],
    "toolkit": ["colour", "http,", "http,http", "http waiting", "HTTP", "__init__", "../http"],
}


QUESTIONS = yaml.safe_load((REPOSITORY / "copier.yml").read_text(encoding="utf-8"))

# Answers to other questions that let each answer be what it may be.
UNRELATED = {
    "triggers": "manual+schedule",
    "repository_plan": "public",
    "investigate_secrets": "",
    "act_secrets": "",
}


def copier_problem(question: str, value: Any, others: Mapping[str, Any] = MappingProxyType({})) -> str | None:
    """What Copier says of an answer, or None."""
    asked = Question(
        answers=AnswersMap(),
        context={"_copier_conf": {"data": {}}, **{"advanced": "yes", **UNRELATED, **others}},
        jinja_env=engines.copier_environment(),
        var_name=question,
        **{name: setting for name, setting in QUESTIONS[question].items() if name not in ("default", "when")},
    )
    try:
        asked.validate_answer(asked.parse_answer(value))
    except (ValueError, CopierError) as error:
        return str(error)
    return None


def agree(question: str, value: Any) -> None:
    """Fail where the two sets of rules say different things of an answer."""
    said, problem = copier_problem(question, value), answers.check(question, value)
    if problem is None or said is None or problem.code == answers.CHOICE or not isinstance(value, str):
        assert (said is None) == (problem is None), (question, value, said, problem)
    else:
        assert said == f"Validation error for question '{question}': {problem.code}: {problem.message}"


@pytest.mark.parametrize("question", answers.QUESTIONS)
def test_examples(question: str) -> None:
    assert [value for value in GOOD[question] if answers.check(question, value)] == []
    assert [value for value in BAD[question] if not answers.check(question, value)] == []
    for value in [*GOOD[question], *BAD[question], *NASTY]:
        agree(question, value)


def _near(question: str) -> st.SearchStrategy[str]:
    """Random text, and good answers with a piece cut out or put in."""
    good = st.sampled_from([str(value) for value in GOOD[question]])
    pieces = st.one_of(
        st.text(max_size=3), st.sampled_from([*NASTY, "-", "_", "/", ",", ".", "*", "0", "7", "{{", "a"])
    )

    def mutate(value: str, start: int, cut: int, piece: str) -> str:
        start %= len(value) + 1
        return value[:start] + piece + value[start + cut :]

    mutated = st.builds(mutate, good, st.integers(0, 200), st.integers(0, 3), pieces)
    return st.one_of(st.text(max_size=60), mutated)


@pytest.mark.parametrize("question", answers.QUESTIONS)
def test_both_sets_of_rules_agree(question: str) -> None:
    @settings(max_examples=150)
    @given(_near(question))
    def check(value: str) -> None:
        agree(question, value)

    check()


_FIELDS = (
    (0, 59, ""),
    (0, 23, ""),
    (1, 31, ""),
    (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    (0, 6, "sun mon tue wed thu fri sat"),
)


@st.composite
def crons(draw: st.DrawFn) -> str:
    """Expressions that are valid by construction."""

    def value(low: int, high: int, names: str) -> str:
        number = draw(st.integers(low, high))
        word = names.split()[number - low] if names and draw(st.booleans()) else str(number)
        return draw(st.sampled_from([word, word.upper(), word.zfill(2)]))

    def part(low: int, high: int, names: str) -> str:
        kind = draw(st.sampled_from(["*", "value", "range"]))
        if kind == "value":
            return value(low, high, names)
        base = kind
        if kind == "range":
            middle = draw(st.integers(low, high))
            base = f"{value(low, middle, '')}-{value(middle, high, '')}"
        step = draw(st.integers(0, high))
        return f"{base}/{step}" if step else base

    return " ".join(",".join(part(*field) for _ in range(draw(st.integers(1, 3)))) for field in _FIELDS)


@given(crons())
def test_valid_crons_are_accepted_everywhere(expression: str) -> None:
    if len(expression) > 100:
        return
    assert answers.check("schedule_cron", expression) is None
    assert copier_problem("schedule_cron", expression) is None
    assert croniter.is_valid(expression)


_CRON_LIKE = st.lists(st.sampled_from(["0", "5", "7", "*", "/", "-", ",", "MON", "JAN"]), max_size=12).map(" ".join)


@settings(max_examples=300)
@given(st.one_of(_near("schedule_cron"), _CRON_LIKE))
@example("* * * * 7")
def test_no_cron_is_accepted_that_another_parser_refuses(expression: str) -> None:
    """Not the other way round: croniter also takes what GitHub refuses, such as seconds, `@daily` and weekday 7."""
    if answers.check("schedule_cron", expression) is None:
        assert croniter.is_valid(expression)


RELATED = {
    "investigate_variables": ("A", {"investigate_secrets": "B, A"}, answers.NAMES),
    "act_variables": ("A, B", {"act_secrets": "B"}, answers.NAMES),
    "investigate_oidc": ("yes", {"repository_plan": "private-free"}, answers.OIDC),
    "act_secrets": ("A", {"repository_plan": "private-free", "investigate_secrets": "A"}, answers.NAMES),
    "agent_python": ("3.10", {"use_case": "incident-response"}, answers.PYTHON),
}


@pytest.mark.parametrize("question", RELATED)
def test_answers_that_exclude_each_other(question: str) -> None:
    value, others, code = RELATED[question]

    problem, said = answers.check(question, value, others), copier_problem(question, value, others)

    assert problem and said
    assert (problem.code, said.partition(": ")[2]) == (code, f"{code}: {problem.message}")
    for other in others:
        fewer = {name: answer for name, answer in others.items() if name != other}
        assert (answers.check(question, value, fewer), copier_problem(question, value, fewer)) == (None, None)


def test_the_same_secret_may_have_two_values_in_two_environments() -> None:
    for plan in ("public", "private-enterprise", "private-team"):
        others = {"repository_plan": plan, "investigate_secrets": "CLOUD_KEY"}
        assert (
            answers.check("act_secrets", "CLOUD_KEY", others),
            copier_problem("act_secrets", "CLOUD_KEY", others),
        ) == (
            None,
            None,
        )


# What Copier's prompt shows of a message, in a terminal of this width.
COLUMNS = 100


@pytest.mark.parametrize("question", answers.QUESTIONS)
def test_what_helps_stands_where_copier_still_shows_it(question: str) -> None:
    bad = BAD[question][0]
    if "choices" in QUESTIONS[question]:
        return  # is picked from a list

    said = copier_problem(question, bad)

    assert said
    assert len(said.partition(";")[0]) <= COLUMNS, "even where Copier names the question before it"
    assert len(said.partition("': ")[2]) <= COLUMNS, "whole, below the question"


def test_yaml_reads_an_unquoted_no_as_false_and_an_unquoted_yes_as_true() -> None:
    for question in ("auto_approval", "advanced", "investigate_oidc", "ephemeral_runners", "notify"):
        assert answers.check(question, yaml.safe_load("no")) is None
        problem = answers.check(question, yaml.safe_load("yes"))
        assert problem
        assert "unquoted yes" in problem.message
    assert answers.check("license", False)


def test_complete_answers() -> None:
    whole = {question: values[0] for question, values in GOOD.items()} | {
        "advanced": "yes",
        "investigate_variables": "",
    }

    assert answers.validate(whole) == []
    assert answers.validate({**whole, "_commit": "v1", "_src_path": "x"}) == []
    assert [problem.code for problem in answers.validate({**whole, "colour": "red"})] == [answers.UNKNOWN]
    assert [problem.question for problem in answers.validate({**whole, "agent_slug": "A", "license": "x"})] == [
        "agent_slug",
        "license",
    ]


def test_missing_answers() -> None:
    whole = {question: values[0] for question, values in GOOD.items() if question not in answers.ADVANCED}
    del whole["schedule_cron"]

    assert answers.validate({**whole, "triggers": "manual"}) == []
    assert [problem.question for problem in answers.validate({**whole, "triggers": "manual", "advanced": "yes"})] == [
        *answers.ADVANCED
    ]
    assert [problem.line() for problem in answers.validate({**whole, "triggers": "manual+schedule"})] == [
        "ANS002: schedule_cron: the answer is missing"
    ]


def test_answers_that_nobody_asked_for() -> None:
    """Cookiecutter gives the default where it does not ask; anything else would be forgotten."""
    whole = {question: values[0] for question, values in GOOD.items() if question not in answers.ADVANCED}
    whole |= {"advanced": "no", "triggers": "manual", "use_case": "blank"}
    defaults = {question: answers.unasked(question, whole) for question in answers.ADVANCED}

    assert answers.validate({**whole, **defaults, "schedule_cron": answers.DEFAULT_CRON}) == []
    assert answers.validate({**whole, "ephemeral_runners": False}) == []
    assert [
        problem.line() for problem in answers.validate({**whole, "act_runner": "x", "schedule_cron": "1 * * * *"})
    ] == [
        "ANS018: schedule_cron: it needs a schedule among the triggers",
        "ANS018: act_runner: it needs advanced=yes",
    ]


def test_a_problem_is_one_line() -> None:
    for question, values in BAD.items():
        for value in values:
            problem = answers.check(question, value)
            assert problem
            assert "\n" not in problem.line()
            assert problem.line().startswith("ANS")
