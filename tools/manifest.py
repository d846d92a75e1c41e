"""Write the list of the template's own files that `make check` of an agent repository compares with.

python tools/manifest.py            after a change below template/
python tools/manifest.py --check    write nothing; exit 1 when the list is stale
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

# Folders in which every file is the template's, and single files beside a team's. What is neither here nor rendered,
# such as pyproject.toml, belongs to both: a team may change it.
FOLDERS = (".github/actions/setup-*", "agent_runtime", "sdk", "specs")
PAGES = ("AUDITOR", "GITHUB_ACTIONS_RUNTIME", "REVIEWER", "SETUP_GUIDE", "TROUBLESHOOTING")
GUIDES = tuple(f"docs/{name}.md" for name in PAGES)
FILES = (".github/workflows/*.yml", ".github/copier.lock", *GUIDES, "requirements.in", "requirements*.lock", "tests/*")
SEEDS = "use_cases/"


def tracked(template: Path) -> list[str]:
    """Every file below `template` that git knows or would add, or simply every file where there is no git."""
    command = ["git", "-C", str(template), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = listed.stdout.split("\0")[:-1]
    else:
        names = [path.relative_to(template).as_posix() for path in template.rglob("*")]
    return sorted(name for name in names if (template / name).is_file() and "__pycache__" not in name)


def build(repository: Path) -> str:
    """The manifest's text for the template in `repository`."""
    template = repository / "template"
    sys.path.insert(0, str(template))
    from agent_runtime.local.linter.actions import MANIFEST, fingerprint  # noqa: PLC0415  the path above comes first

    names = [name for name in tracked(template) if not name.startswith(SEEDS) and name != MANIFEST]
    static = [name for name in names if not name.endswith(".jinja")]
    folders = sorted(path.relative_to(template).as_posix() for glob in FOLDERS for path in template.glob(glob))
    owned = [
        name
        for name in static
        if name.startswith(tuple(folder + "/" for folder in folders)) or any(fnmatch(name, glob) for glob in FILES)
    ]
    manifest = {
        "folders": folders,
        "rendered": [name.removesuffix(".jinja") for name in names if name.endswith(".jinja") and "{{" not in name],
        "files": {name: fingerprint((template / name).read_bytes()) for name in owned},
    }
    return json.dumps(manifest, indent=2) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the manifest is stale")
    options = parser.parse_args()
    path = REPOSITORY / "template" / "agent_runtime" / "manifest.json"
    text = build(REPOSITORY)
    if not options.check:
        path.write_text(text, encoding="utf-8", newline="\n")
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        print(f"{path.relative_to(REPOSITORY)} is stale: run make manifest", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
