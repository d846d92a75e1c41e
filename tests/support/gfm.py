"""Markdown as GitHub renders it, taken apart: which tags a page has, and which text is outside of code."""

from __future__ import annotations

from html.parser import HTMLParser

import cmarkgfm  # type: ignore[import-untyped]
from cmarkgfm.cmark import Options  # type: ignore[import-untyped]

# GitHub's parser with footnotes, and raw HTML let through so that it would be seen.
_GFM = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES


class Page(HTMLParser):
    """A page's tags in order, its whole text, the text outside of code, and the text of each piece of code."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.outside = ""
        self.codes: list[str] = []
        self._code = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "code":
            self._code += 1
            self.codes.append("")

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag == "code"

    def handle_data(self, text: str) -> None:
        self.text += text
        if self._code:
            self.codes[-1] += text
        else:
            self.outside += text

    def handle_comment(self, text: str) -> None:
        self.tags.append("<!--")


def gfm(markdown: str) -> Page:
    return Page(cmarkgfm.github_flavored_markdown_to_html(markdown, options=_GFM))
