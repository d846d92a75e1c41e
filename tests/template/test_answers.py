"""What an answer may be: the rules in Python, Copier's validators, and a cron parser of somebody else agree."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import yaml
from copier._main import Worker
from copier._user_data import AnswersMap, Question
from copier.errors import CopierError
from croniter import croniter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent_runtime.local import answers
from conftest import REPOSITORY

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
}

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
    "auto_approval": ["", "true", "Yes", "maybe"],
    "repository_plan": ["", "private"],
    "license": ["", "GPL-3.0", "mit"],
}


@cache
def _validators() -> tuple[Any, dict[str, Any]]:
    worker = Worker(src_path=str(REPOSITORY), dst_path=REPOSITORY / "nowhere")
    config = yaml.safe_load((REPOSITORY / "copier.yml").read_text(encoding="utf-8"))
    worker.template.__dict__["local_abspath"] = REPOSITORY  # the working tree, not a clone of it
    return worker.jinja_env, config


def copier_problem(question: str, value: Any) -> str | None:
    """What Copier says of an answer, or None."""
    environment, config = _validators()
    asked = Question(
        answers=AnswersMap(),
        context={"_copier_conf": {"data": {}}},
        jinja_env=environment,
        var_name=question,
        **{name: setting for name, setting in config[question].items() if name not in ("default", "when")},
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


def test_complete_answers() -> None:
    whole = {question: values[0] for question, values in GOOD.items()}

    assert answers.validate(whole) == []
    assert answers.validate({**whole, "_commit": "v1", "_src_path": "x"}) == []
    assert [problem.code for problem in answers.validate({**whole, "colour": "red"})] == [answers.UNKNOWN]
    assert [problem.question for problem in answers.validate({**whole, "agent_slug": "A", "license": "x"})] == [
        "agent_slug",
        "license",
    ]


def test_missing_answers() -> None:
    whole = {question: values[0] for question, values in GOOD.items()}
    del whole["schedule_cron"]

    assert answers.validate({**whole, "triggers": "manual"}) == []
    assert [problem.line() for problem in answers.validate({**whole, "triggers": "manual+schedule"})] == [
        "ANS002: schedule_cron: the answer is missing"
    ]


def test_a_problem_is_one_line() -> None:
    for question, values in BAD.items():
        for value in values:
            problem = answers.check(question, value)
            assert problem
            assert "\n" not in problem.line()
            assert problem.line().startswith("ANS")
