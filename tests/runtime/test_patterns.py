"""Patterns mean what people expect, and no pattern and value together take long."""

from __future__ import annotations

import fnmatch
import re
import time

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from agent_runtime.text.patterns import MAX_VALUE_LENGTH, Expression, glob_matches

_globs = st.text("ab*?.", max_size=12)
_texts = st.text("ab.", max_size=16)


@given(_globs, _texts)
def test_globs_match_as_fnmatch_does(pattern: str, text: str) -> None:
    assert glob_matches(pattern, text) == fnmatch.fnmatchcase(text, pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("restart", "restart", True),
        ("restart", "Restart", False),
        ("svc-*", "svc-", True),
        ("*", "", True),
        ("?", "", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("*prod*", "a/prod/b", True),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_globs(pattern: str, text: str, matches: bool) -> None:
    assert glob_matches(pattern, text) == matches


def test_a_glob_of_many_stars_is_quick() -> None:
    began = time.perf_counter()
    assert not glob_matches("*a" * 100 + "b", "a" * 256)
    assert time.perf_counter() - began < 10


_atoms = st.sampled_from(["a", "b", "-", ".", r"\d", r"\w", r"\.", "[ab]", "[^a]", "[a-c0-9]", r"[\d-]", "é"])
_quantifiers = st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "{1,3}"])
_expressions = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda choices: "(" + "|".join(choices) + ")"),
        st.tuples(inner, _quantifiers).map(lambda pair: "(" + pair[0] + ")" + pair[1]),
        st.tuples(_atoms, _quantifiers).map("".join),
    ),
    max_leaves=5,
)


@given(_expressions, st.text("abc0-.é", max_size=6))
@example("(a|ab)(c|bcd)", "abcd")
@example("(a*)*b", "aab")
def test_expressions_match_as_re_does(pattern: str, value: str) -> None:
    assume(len(pattern) <= 200)
    assert Expression(pattern).matches(value) == (re.fullmatch(pattern, value, re.ASCII) is not None)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("db-[0-9]{1,2}", ["db-1", "db-22"], ["db-", "db-123", "xdb-1", "DB-1"]),
        ("[^0-9]+", ["abc", "é"], ["", "a1"]),
        ("a.c", ["abc", "a-c"], ["ac", "abbc"]),
        (r"v\d+(\.\d+){2}", ["v1.2.3", "v10.20.30"], ["v1.2", "v1.2.3.4", "v1x2x3", "v١.2.3"]),
        ("(prod|staging)-eu", ["prod-eu", "staging-eu"], ["dev-eu", "prod"]),
        ("a{2,}b?", ["aa", "aaab"], ["a", "ab", "aabb"]),
        ("", [""], ["a"]),
    ],
)
def test_expressions(pattern: str, matching: list[str], others: list[str]) -> None:
    expression = Expression(pattern)
    assert all(expression.matches(value) for value in matching)
    assert not any(expression.matches(value) for value in others)


@given(st.text(r"ab()[]{}|*+?\.^$-,0123dw", max_size=20), st.text("ab0", max_size=8))
def test_an_expression_is_refused_or_means_the_same_as_in_re(pattern: str, value: str) -> None:
    try:
        expression = Expression(pattern)
    except ValueError:
        return
    assert expression.matches(value) == (re.fullmatch(pattern, value, re.ASCII) is not None)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("(a+)+b", "a" * 1000),
        ("(a|a)*b", "a" * 1000),
        ("(a|aa)+" * 10 + "b", "a" * 1000),
        ("a*" * 50 + "b", "a" * 1000),
        ("((a{0,9}){0,9}){0,9}b", "a" * 1000),
        ("(.*){1,50}x", "a" * 1000),
        ("a?" * 66 + "a" * 66, "a" * 66),
    ],
)
def test_what_makes_backtracking_explode_is_quick_or_refused(pattern: str, value: str) -> None:
    began = time.perf_counter()
    try:
        Expression(pattern).matches(value)
    except ValueError as problem:
        assert "states" in str(problem)
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize("pattern", ["(){9999}", "((){9999}){9999}", "(a{999}){999}", "((((a*){99})*){99}){99}"])
def test_counts_that_multiply_are_refused_at_once(pattern: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ValueError, match="states"):
        Expression(pattern)
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("^a$", "whole value"),
        ("a$", "whole value"),
        ("(a", "without '\\)'"),
        ("a)", "without '\\('"),
        ("[a", "without ']'"),
        ("[]", "empty class"),
        ("[b-a]", "end is below"),
        ("[a-\\d]", "between two characters"),
        ("[[:alpha:]]", "inside a class"),
        ("*a", "nothing before"),
        ("a**", "after a quantifier"),
        ("a+?", "after a quantifier"),
        ("a{", "not a count"),
        ("a{2,1}", "end is below"),
        ("a{,2}", "not a count"),
        ("(?i)a", "not supported"),
        ("(?=a)", "not supported"),
        (r"(a)\1", "before '1'"),
        (r"\b", "before 'b'"),
        ("\\", "nothing after"),
        ("a" * 201, "longer than 200"),
        ("(" * 21 + "a" + ")" * 21, "in each other"),
    ],
)
def test_what_the_language_does_not_have_is_said(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Expression(pattern)


def test_a_value_that_is_too_long_is_not_judged() -> None:
    assert Expression("a*").matches("a" * MAX_VALUE_LENGTH)
    with pytest.raises(ValueError, match="1024"):
        Expression("a*").matches("a" * (MAX_VALUE_LENGTH + 1))


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_a_value_error(pattern: str) -> None:
    try:
        Expression(pattern).matches("a")
    except ValueError as problem:
        assert str(problem)
