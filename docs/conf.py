"""Settings of the documentation site: `make docs` builds it with Sphinx from the Markdown of the whole repository.

The source folder is the root of the repository, so that pages link to each other by the same relative paths here, on
GitHub and on disk.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer

ROOT = Path(__file__).resolve().parent.parent

project = "Gated agents"
author = "the maintainers of the template"
copyright = "the maintainers of the template, Apache-2.0"

extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "template/docs/*.md",
    "template/specs/*.md",
    "template/PRODUCTION_CHECKLIST.md",
    "template/sdk/README.md",
    "backend/README.md",
    "CONTRIBUTING.md",
    "CODE_OF_CONDUCT.md",
    "CHANGELOG.md",
    "SECURITY.md",
]
exclude_patterns = [".venv", ".git", "build", "**/node_modules", "benchmarks", "tests"]

myst_heading_anchors = 4
html_theme = "furo"
html_title = "Gated agents"
html_extra_path = ["site"]
html_static_path: list[str] = []
html_copy_source = False
html_show_sphinx = False


def _without_rendered_files(_app: Any, name: str, content: list[str]) -> None:
    """Let pages of the template name files that exist in a rendered repository only, without a link to them."""
    if not name.startswith("template/"):
        return
    folder = (ROOT / name).parent

    def keep(link: re.Match[str]) -> str:
        target = folder / link.group(2).partition("#")[0]
        rendered = not target.exists() and target.with_name(target.name + ".jinja").exists()
        return f"`{link.group(1)}`" if rendered else link.group(0)

    content[0] = re.sub(r"\[([^\]]+)\]\(([^):]+)\)", keep, content[0])


def setup(app: Any) -> None:
    """Register what is said above."""
    app.connect("source-read", _without_rendered_files)
    app.add_lexer("mermaid", TextLexer)  # GitHub draws it; here its source stands, which reads well enough
