"""Globs mean what people expect, named formats accept just what they name, and neither takes long."""

from __future__ import annotations

import fnmatch
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.text.formats import FORMATS, Format
from agent_runtime.text.patterns import caseless, glob_matches

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


# What each accepts and refuses besides the two texts that its own table has.
CASES = {
    "ascii-line": (
        ["x", "a  b", "~!", "x" * 300],
        ["", " x", "x ", " ", "a\tb", "a\nb", "x" * 301],
    ),
    "git-commit": (
        ["0" * 40, "f" * 64],
        ["", "0" * 39, "0" * 41, "0" * 63, "0" * 65, "F" * 40, "g" * 40, "HEAD"],
    ),
    "git-ref": (
        ["main", "v1.2.3", "refs/heads/main", "Fix_1/a-b", "x" * 200],
        [
            "",
            "-f",
            "--all",
            "/main",
            "main/",
            "a//b",
            "a..b",
            "a.",
            ".a",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "@{-1}",
            "x" * 201,
        ],
    ),
    "host-name": (
        ["web-1", "db1.internal", "127.0.0.1", "a" * 63 + ".b"],
        ["", "-web", "web-", "a..b", ".a", "a.", "Web-1", "web_1", "web:22", "u@web", "a" * 64, "a." * 126 + "ab"],
    ),
    "key-id": (
        ["k", "AKIA_1-2", "_a", "x" * 64],
        ["", "-k", "a/b", "a.b", "a b", "a;b", "x" * 65],
    ),
    "relative-path": (
        ["a", "a/b.c", "a_1/b-2/c.yml", "x" * 400],
        [
            "",
            "/etc/passwd",
            "../a",
            "a/../b",
            "./a",
            "a//b",
            "a/",
            ".git/config",
            "a/.env",
            "-r",
            "a\\b",
            "C:/a",
            "~/a",
            "x" * 401,
        ],
    ),
    "service-name": (
        ["a", "checkout", "a-b--c", "1", "x" * 63],
        ["", "-a", "a-", "A", "a.b", "a_b", "a/b", "x" * 64],
    ),
    "version": (
        ["1.2", "1.2.3", "v1.2.3.4", "10.20.30-rc.1", "1.0.0+build.5"],
        ["", "1", "v1", "V1.2", "1.2.", "1.2.3.4.5", "1.2.x", "1.2-", "1.2 3", "*", "^1.2", "1.2" + "0" * 62],
    ),
}


def test_every_format_has_cases() -> None:
    assert list(CASES) == list(FORMATS) == sorted(FORMATS)


@pytest.mark.parametrize(("name", "form"), FORMATS.items(), ids=str)
def test_a_format_accepts_its_examples_and_refuses_its_counter_examples(name: str, form: Format) -> None:
    accepted, refused = CASES[name]
    assert [text for text in (form.example, *accepted) if not form.accepts(text)] == []
    assert [text for text in (form.counter_example, *refused) if form.accepts(text)] == []


_names = st.sampled_from(sorted(FORMATS))


def _of(name: str) -> st.SearchStrategy[str]:
    """Texts that a format accepts, by its expression."""
    form = FORMATS[name]
    plain = st.characters(max_codepoint=0x7F)
    return st.from_regex(form.expression, fullmatch=True, alphabet=plain).filter(form.accepts)


_accepted = _names.flatmap(lambda name: st.tuples(st.just(name), _of(name)))
# Line endings, controls, whitespace that is none, digits and letters of other alphabets, marks, directions.
_FOREIGN = (
    "\n\r\x00\x0b\x1b\x7f\x85\u00a0\u2028\u3000\u200b\u202e\u0301"
    "\u0430\u043e\u0440\u0455\u0661\u06f1\uff11\uff41\u0131\u017f\u212a\u2010\u2215"
)
_foreign = st.one_of(st.sampled_from(_FOREIGN), st.characters(min_codepoint=0x80), st.characters(max_codepoint=0x1F))


@given(_accepted, _foreign, st.data())
def test_no_format_lets_a_foreign_character_pass(pair: tuple[str, str], sign: str, data: st.DataObject) -> None:
    name, text = pair
    at = data.draw(st.integers(0, len(text)))
    assert not FORMATS[name].accepts(text[:at] + sign + text[at:])
    assert not FORMATS[name].accepts(text[:at] + sign + text[at + 1 :])


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_no_other_character_passes_in_the_middle_or_at_the_end(form: Format) -> None:
    others = map(chr, (*range(0x20), *range(0x7F, 0x20000)))
    text = form.example
    assert [sign for sign in others if form.accepts(text + sign) or form.accepts(text[:2] + sign + text[3:])] == []


@given(_names, st.integers(1, 2000), st.sampled_from(["a", "0", "a-", "a.", "a/", "0.1-"]))
def test_no_text_longer_than_the_bound_passes(name: str, more: int, piece: str) -> None:
    longest = FORMATS[name].longest
    assert not FORMATS[name].accepts((piece * (longest + more))[: longest + more - 1] + "a")


@given(_accepted)
def test_what_a_format_accepts_it_accepts_without_regard_to_case(pair: tuple[str, str]) -> None:
    """So a disguise of it can always be recognized, and a rule that denies still applies."""
    name, text = pair
    assert FORMATS[name].accepts(caseless(text))
    assert FORMATS[name].accepts(caseless(text.upper()))
    assert FORMATS[name].accepts(caseless(unicodedata.normalize("NFKC", " " + text)))


@pytest.mark.parametrize("name", FORMATS)
def test_no_text_keeps_a_format_busy(name: str) -> None:
    form = FORMATS[name]
    starts = ["a", "a-", "-a", "a.", "a/", "a a", "0", "0.", "1.1-", "a" * 61 + "-", "a--", "f"]
    began = time.perf_counter()
    for start in starts:
        for length in (form.longest, 100_000):
            text = (start * length)[: length - 1] + "!"
            assert form.accepts(text) == (name == "ascii-line" and length == 300)
    assert time.perf_counter() - began < 1
