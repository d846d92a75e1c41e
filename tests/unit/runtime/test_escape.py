"""Untrusted text stays text, in GitHub's own Markdown parser, in the runner's log and in a terminal (T3, T4, T6)."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from agent_runtime.text import escape
from support.gfm import gfm
from support.strategies import HOSTILE_FRAGMENTS, hostile_text, json_values

_COMMONMARK = MarkdownIt("gfm-like", {"html": True, "linkify": True})

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


def leaves(markdown: str) -> list[Token]:
    return [leaf for token in _COMMONMARK.parse(markdown) for leaf in (token.children or [token])]


@given(hostile_text)
@example("`" * 81 + " <b>x</b> www.evil.example " + "`" * 81)
@example(" `x` ")
@example("a\\")
def test_inline_text_is_code_and_nothing_else(text: str) -> None:
    page = gfm("before " + escape.markdown_inline(text) + " after")
    assert set(page.tags) <= {"p", "code"}
    assert page.text == "before " + (escape.visible(text) or "(empty)") + " after\n"
    # No filter of GitHub's that runs after parsing (mentions, references, emoji) looks into code.
    assert set(page.outside) <= set("before  after\n`(empty)")
    kinds = {leaf.type for leaf in leaves("before " + escape.markdown_inline(text) + " after")}
    assert kinds <= {"paragraph_open", "paragraph_close", "text", "code_inline", "text_special"}


@pytest.mark.threat("T3", "T4")
@given(hostile_text)
def test_inline_text_is_safe_wherever_a_line_can_put_it(text: str) -> None:
    shown = escape.visible(text) or "(empty)"
    inline = escape.markdown_inline(text)
    for markdown, tags in (
        (inline, {"p", "code"}),
        ("# " + inline, {"h1", "code"}),
        ("1. " + inline + "\n2. x", {"ol", "li", "code"}),
        ("> " + inline, {"blockquote", "p", "code"}),
        ("**" + inline + "**", {"p", "strong", "code"}),
    ):
        page = gfm(markdown)
        assert set(page.tags) <= tags
        assert shown in page.text


@given(hostile_text, hostile_text)
@example("a|b", "a\\|b")
@example("\\", "|")
def test_a_table_keeps_its_shape(left: str, right: str) -> None:
    row = f"| {escape.markdown_table_cell(left)} | {escape.markdown_table_cell(right)} |"
    page = gfm("| head | head |\n| --- | --- |\n" + row + "\n")
    assert [tag for tag in page.tags if tag != "code"] == [
        "table",
        "thead",
        "tr",
        "th",
        "th",
        "tbody",
        "tr",
        "td",
        "td",
    ]
    assert set(page.outside) - set("head\n") <= set("`|(empty)")
    for text in (left, right):
        assert (escape.visible(text) or "(empty)") in page.text


@given(hostile_text)
@example("`" * 300 + "\nx\n" + "`" * 255 + "\n<b>out</b>")
@example("~~~\n```\n~~~")
@example("\n")
def test_a_block_ends_where_it_should(text: str) -> None:
    page = gfm("before\n\n" + escape.markdown_block(text) + "\n\nafter\n")
    assert page.tags == ["p", "pre", "code", "p"]
    assert page.outside == "before\n\nafter\n"
    fences = [token for token in _COMMONMARK.parse(escape.markdown_block(text)) if token.type != "inline"]
    assert [token.type for token in fences] == ["fence"]
    assert (
        fences[0].content.replace("\\u{60}", "`")
        == escape.terminal(text.replace("\r\n", "\n")).replace("\\u{60}", "`") + "\n"
    )


@given(hostile_text)
def test_a_block_in_a_list_stays_in_the_list(text: str) -> None:
    indented = "\n".join("   " + line for line in escape.markdown_block(text).split("\n"))
    page = gfm("1. before\n\n" + indented + "\n\n2. after\n")
    assert [tag for tag in page.tags if tag not in ("p", "li")] == ["ol", "pre", "code"]


@given(hostile_text)
def test_backticks_stay_within_what_githubs_parser_counts(text: str) -> None:
    for shown in (escape.markdown_inline(text), escape.markdown_table_cell(text), escape.markdown_block(text)):
        assert max((len(run) for run in re.findall("`+", shown)), default=0) <= 65


@given(json_values)
@example("`" * 300 + "\n```\n<b>")
@example("\\u{202e} \x7f \u0430 \u202e")
def test_a_block_of_json_parses_to_exactly_the_value_and_hides_nothing(value: Any) -> None:
    block = escape.markdown_json_block(value)
    page = gfm("before\n\n" + block + "\n\nafter\n")
    assert page.tags == ["p", "pre", "code", "p"]
    assert page.outside == "before\n\nafter\n"
    assert re.fullmatch(r"[ -_a-~\n]*", page.codes[0])
    assert json.loads(page.codes[0]) == value


def test_a_block_of_json_holds_json_only() -> None:
    with pytest.raises(ValueError, match="JSON"):
        escape.markdown_json_block(float("nan"))


def starts_command(line: str) -> bool:
    """Whether the runner would act on the line (its ActionCommand.TryParseV2 and TryParse)."""
    trimmed = line.lstrip()
    if trimmed.startswith("::") and "::" in trimmed[2:]:
        return True
    start = line.find("##[")
    return start >= 0 and "]" in line[start:]


@pytest.mark.threat("T4")
@given(hostile_text, st.sampled_from(["", " ", "\t", "resource: ", ":", "#", "x:", "::notice"]))
@example("#[group]x", "#")
@example(":set-output name=x::y", ":")
@example("[group]##", "")
def test_no_workflow_command_starts_in_a_log_line(text: str, prefix: str) -> None:
    line = escape.log_line(text)
    assert not _CONTROL.search(line)
    assert not starts_command(prefix + line)
    assert not starts_command(line + line)


@pytest.mark.parametrize(
    "command", ["::set-output name=x::y", "  ::error::x", "##[group]x", "a ##[error]b", "x\r::warning::y"]
)
def test_the_model_of_the_runner_knows_commands(command: str) -> None:
    assert any(starts_command(line) for line in re.split("\r\n|\r|\n", command))
    assert not any(starts_command(line) for line in re.split("\r\n|\r|\n", escape.log_line(command)))


@given(hostile_text)
def test_a_terminal_gets_lines_and_letters_only(text: str) -> None:
    shown = escape.terminal(text)
    assert not _CONTROL.search(shown.replace("\n", "").replace("\t", ""))
    shown.encode("utf-8")


@pytest.mark.threat("T6")
@given(hostile_text)
def test_every_character_is_seen(text: str) -> None:
    shown = escape.visible(text)
    assert all(
        character == " " or unicodedata.category(character)[0] in "LMNPS" or character == "…" for character in shown
    )
    assert not re.search("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\u3164\u00ad]", shown)


def unescape(shown: str) -> str:
    return re.sub(r"\\u\{([0-9a-f]+)\}", lambda found: chr(int(found.group(1), 16)), shown)


@given(hostile_text)
@example("\\u{202e}")
@example("\\u{5c}u{202e}")
def test_what_is_shown_shows_what_was_there(text: str) -> None:
    assert unescape(escape.visible(text)) == text
    assert unescape(escape.terminal(text)) == text


@given(st.text(), st.text())
def test_no_two_texts_look_alike(one: str, other: str) -> None:
    assert (escape.visible(one) == escape.visible(other)) == (one == other)


@pytest.mark.threat("T4", "T6")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("restart_service", "restart_service"),
        ("prod/web-1.eu:8443,a=b%2B", "prod/web-1.eu:8443,a=b%2B"),
        ("x@everyone", "x\\u{40}everyone"),
        ("<!channel> <@U1>", "\\u{3c}\\u{21}channel\\u{3e} \\u{3c}\\u{40}U1\\u{3e}"),
        ("https://evil.example", "https:/\\u{2f}evil.example"),
        ("[page](x)", "\\u{5b}page\\u{5d}\\u{28}x\\u{29}"),
        ("a/_x_/b", "a/\\u{5f}x\\u{5f}/b"),
        ("*a* ~b~ `c`", "\\u{2a}a\\u{2a} \\u{7e}b\\u{7e} \\u{60}c\\u{60}"),
        ("a\nb\u202ec", "a\\u{a}b\\u{202e}c"),
        ("api:white_check_mark:approved:100:", "api\\u{3a}white_check_mark\\u{3a}approved\\u{3a}100:"),
        ("host:5432/db", "host:5432/db"),
    ],
)
def test_what_a_message_holds_is_plain_in_every_service(text: str, shown: str) -> None:
    assert escape.message(text) == shown


@given(hostile_text | st.text())
def test_a_message_is_one_line_that_markdown_changes_nothing_of(text: str) -> None:
    shown = "x" + escape.message(text) + "x"
    inline = [token for token in MarkdownIt("gfm-like").parse(shown) if token.type == "inline"]
    assert [child.type for token in inline for child in token.children or []] == ["text"]
    assert inline[0].content == shown and "\n" not in shown and "@" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("C:\\temp\\new", "C:\\temp\\new"),
        ("\u202eabc", "\\u{202e}abc"),
        ("a\nb", "a\\u{a}b"),
        ("\ud800", "\\u{d800}"),
        ("Grüße, 日本語", "Grüße, 日本語"),
        ("\u0338x", "\\u{338}x"),
        ("a" + "\u0301" * 4 + "b", "a" + "\u0301" * 4 + "b"),
        ("a" + "\u0301" * 6 + "b", "a" + "\u0301" * 4 + "\\u{301}" * 2 + "b"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert escape.visible(text) == shown
    assert escape.is_visible(text) == (text == shown)


def test_a_limit_says_how_much_is_missing() -> None:
    assert escape.visible("abcdef", limit=6) == "abcdef"
    assert escape.visible("abcdef", limit=2) == "ab… (4 more characters)"


def test_the_hostile_fragments_are_attacks() -> None:
    """Enough of them change a page when they are put in raw, or the tests above would prove nothing."""
    raw = [text.encode("utf-8", "ignore").decode() for text in HOSTILE_FRAGMENTS]
    harmful = [text for text in raw if set(gfm("a\n\n" + text + "\n\nb").tags) - {"p"}]
    assert len(harmful) > 25
