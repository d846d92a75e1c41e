"""Makes the same tree as Copier of what Cookiecutter rendered, and refuses it if it is broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

CONTEXT = json.loads(r"""{{ cookiecutter | jsonify }}""")
REPOSITORY = Path(CONTEXT["_repo_dir"])
PROJECT = Path.cwd()

# Not every use case has the first three; of the last two one belongs to an issue gate, the other to environments.
OPTIONAL = (
    "services.yml",
    "tests/example_service.py",
    "tests/conversation.json",
    ".github/workflows/agent-act-on-approval.yml",
    ".github/workflows/agent-attest.yml",
)
ANSWERS_FILE = ".copier-answers.yml"
SLUG = "{% raw %}{{ cookiecutter.agent_slug }}{% endraw %}"  # as it is in names; this file is rendered too

sys.dont_write_bytecode = True
sys.path.insert(0, str(REPOSITORY / "template"))

from agent_runtime.local import answers  # noqa: E402  the path above comes first


def tidy() -> None:
    """Give rendered files their names, and drop what belongs to no repository or to another use case."""
    shutil.rmtree(PROJECT / "use_cases")
    template = REPOSITORY / "template"
    for name in [path.relative_to(template).as_posix() for path in template.rglob("*.jinja")]:
        place = PROJECT / name.replace(SLUG, CONTEXT["agent_slug"])
        place.replace(place.with_suffix(""))
    for name in OPTIONAL:
        path = PROJECT / name
        if path.exists() and not path.stat().st_size:
            path.unlink()
    by_issue = CONTEXT["repository_plan"] in ("private-team", "private-free")
    for name in answers.left_out(by_issue=by_issue, notify=CONTEXT["notify"] not in ("no", False)):
        (PROJECT / name).unlink()
    for module in answers.TOOLKIT_MODULES.keys() - answers.toolkit_modules(answers.listed(CONTEXT["toolkit"])):
        (PROJECT / "agent_runtime" / "toolkit" / f"{module}.py").unlink()


def source() -> str:
    """Where `copier update` finds the template later."""
    given = CONTEXT["_template"]
    local = Path(os.environ.get("PWD", os.curdir), given).resolve()
    return str(local) if (local / "copier.yml").is_file() else given


def write_answers() -> None:
    """Write the answers file that Copier would have written, so that `copier update` works here too."""
    asked = [name for name in answers.QUESTIONS if answers.asked(name, CONTEXT)]
    known = {name: "no" if CONTEXT[name] is False else CONTEXT[name] for name in asked}
    command = ["git", "-C", str(REPOSITORY), "describe", "--tags", "--always"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  fixed words
    if described.returncode == 0:
        known["_commit"] = described.stdout.strip()
    known["_src_path"] = source()
    path = PROJECT / ANSWERS_FILE
    head = path.read_text(encoding="utf-8")
    body = yaml.dump(known, indent=4, allow_unicode=True, default_flow_style=False)
    path.write_text(head + body, encoding="utf-8", newline="\n")


def main() -> int:
    tidy()
    write_answers()
    checked = subprocess.run([sys.executable, "-B", "-m", "agent_runtime.local.check"], cwd=PROJECT, check=False)
    if checked.returncode:
        print("The template rendered into a repository that its own check refuses; nothing is kept.", file=sys.stderr)
        return checked.returncode
    print(
        f"\n{CONTEXT['agent_name']} is ready. Type next:\n\n"
        f"    cd {os.path.relpath(PROJECT, os.environ.get('PWD', PROJECT.parent))}\n"
        '    git init && git add . && git commit -m "Start from the template"\n'
        "    make test\n"
        "    make simulate\n\n"
        "Before its first run on GitHub, close the approval gate: docs/SETUP_GUIDE.md"
    )
    return 0


raise SystemExit(main())
