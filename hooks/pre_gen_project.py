"""Refuses answers that are invalid, before a file is written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

REPOSITORY = Path(json.loads(r"""[{{ cookiecutter._repo_dir | jsonify }}]""")[0])

# The answers as Cookiecutter will use them, and as they were given: it renders a given answer as Jinja, so that what
# arrives may not be what somebody wrote.
RENDERED = json.loads(r"""{{ cookiecutter | jsonify }}""")
GIVEN = json.loads(r"""{{ _cookiecutter | default({}) | jsonify }}""")

sys.dont_write_bytecode = True
sys.path.insert(0, str(REPOSITORY / "template"))

from agent_runtime.local import answers  # noqa: E402  the path above comes first


def main() -> int:
    defaults = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))
    written = [(name, text) for name, text in GIVEN.items() if isinstance(text, str) and text != defaults.get(name)]
    problems = [*answers.validate(RENDERED), *filter(None, (answers.check(name, text) for name, text in written))]
    if not problems:
        return 0
    print(problems[0].line(), file=sys.stderr)  # what comes after may only follow from it, as defaults do
    return 2


raise SystemExit(main())
