"""What the documents of this repository tell a reader to type or to open is there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from conftest import REPOSITORY, require_tool

DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
TARGETS = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def tokens(path: Path) -> list[Token]:
    """Return the document's tokens, those inside lines too."""
    markdown = MarkdownIt("commonmark").enable("table")
    return [
        token
        for block in markdown.parse(path.read_text(encoding="utf-8"))
        for token in (block, *(block.children or ()))
    ]


def commands(path: Path) -> list[list[str]]:
    """Return the lines of the document's shell blocks, as words."""
    blocks = [token.content for token in tokens(path) if token.type == "fence" and token.info == "sh"]
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


def by_name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", DOCUMENTS, ids=by_name)
def test_every_link_leads_somewhere(path: Path) -> None:
    links = [str(token.attrs["href"]) for token in tokens(path) if token.type == "link_open"]
    files = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link)]

    assert [link for link in files if link and not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=by_name)
def test_every_make_target_that_is_named_exists(path: Path) -> None:
    inline = [token.content.split() for token in tokens(path) if token.type == "code_inline"]
    named = {words[1] for words in [*inline, *commands(path)] if words[:1] == ["make"] and len(words) > 1}
    # Targets of a generated repository, where the text says so.
    generated = {"simulate", "check"}

    assert {name for name in named if re.fullmatch("[a-z]+", name)} - generated <= TARGETS


@pytest.mark.parametrize("path", DOCUMENTS, ids=by_name)
def test_files_that_are_named_exist(path: Path) -> None:
    words = [word for command in commands(path) for word in command]
    words += [token.content for token in tokens(path) if token.type == "code_inline"]
    here = re.compile(r"(tools|requirements|benchmarks|tests|template|docs|hooks|\.github)/[^:<]*")
    named = {word.rstrip("/") for text in words for word in text.split() if here.fullmatch(word)}

    # A document here also speaks of a generated repository, whose files have their source below template/.
    places = ("{}", "template/{}", "template/{}.jinja")
    assert [name for name in named if not any(any(REPOSITORY.glob(place.format(name))) for place in places)] == []


def test_the_first_commands_of_the_readme_are_the_two() -> None:
    assert commands(REPOSITORY / "README.md")[:2] == [["make", "demo"], ["make", "test"]]


def test_make_alone_lists_every_target() -> None:
    result = subprocess.run([require_tool("make")], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    listed = re.findall(r"^  make ([a-z]+) +\S", result.stdout, flags=re.MULTILINE)
    assert sorted(listed) == sorted(TARGETS)


def test_the_decisions_are_all_listed_and_have_the_three_parts() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    pages = sorted(folder.glob("[0-9]*.md"))
    index = (folder / "README.md").read_text(encoding="utf-8")

    assert len(pages) >= 8
    for page in pages:
        text = page.read_text(encoding="utf-8")
        number, title = re.match(r"# (\d{4}) (.+)\n", text).groups()  # type: ignore[union-attr]
        assert page.name.startswith(f"{number}-")
        assert f"[{number}]({page.name})" in index
        assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == ["Context", "Decision", "Consequences"], title
