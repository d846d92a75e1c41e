"""Write or check `template/specs/what-to-review.md`: the modules that decide, in the order in which they are read.

    python tools/review.py --write | --check

Which modules and how long they are comes from what they import (`decides.py`), each sentence from the module's own
docstring.  A module that is loaded and stands in no group, or the other way round, is an error.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs as a file too

from tools import decides  # noqa: E402  the path above comes first

TEMPLATE = ROOT / "template"
PAGE = TEMPLATE / "specs" / "what-to-review.md"
THREATS = TEMPLATE / "specs" / "threat-model.md"

# What a reader does with a group, and its modules in reading order, each with the threats that it answers.
GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "Start": (
        "How a job starts without anything of the repository but this text.",
        {
            "agent_runtime.__main__": "T12 T31",
            "agent_runtime.cli": "T31",
            "agent_runtime.commands.seal": "",
            "agent_runtime.commands.approve": "",
            "agent_runtime.commands.authorize": "",
            "agent_runtime.commands.record": "",
            "agent_runtime.commands.options": "",
        },
    ),
    "Seal": (
        "What comes from the agent's machine, and becomes a plan.",
        {
            "agent_runtime.gate.seal": "T2 T3 T40",
            "agent_runtime.gate.start": "T19 T24",
            "agent_runtime.gate.duplicates": "T25",
            "agent_runtime.job.request": "T1 T29",
            "agent_runtime.model.inputs": "T1 T5 T29",
            "agent_runtime.model.documents": "T11 T40",
            "agent_runtime.model.plan": "T8 T11",
            "agent_runtime.model.redaction": "T33",
        },
    ),
    "The policy": (
        "What may be asked at all, and what needs nobody.",
        {
            "agent_runtime.gate.policy": "T22 T23",
            "agent_runtime.gate.conditions": "T6 T23",
            "agent_runtime.gate.expressions": "T6 T23",
            "agent_runtime.gate.policy_file": "T10 T22",
            "agent_runtime.gate.session_policy": "T26",
            "agent_runtime.gate.protected_paths": "T22",
            "agent_runtime.gate.history": "T25",
            "agent_runtime.text.formats": "T6",
            "agent_runtime.text.patterns": "T6",
        },
    ),
    "The page": (
        "What the human reads before the click.",
        {
            "agent_runtime.gate.pages.review": "T3 T4 T6 T14 T17 T25",
            "agent_runtime.gate.pages.claims": "T3",
            "agent_runtime.gate.pages.common": "T4",
            "agent_runtime.text.escape": "T4 T6",
            "agent_runtime.text.markdown": "T4",
        },
    ),
    "Approve": (
        "Whose click, or whose comment, counts.",
        {
            "agent_runtime.gate.gates": "",
            "agent_runtime.gate.environment": "T13 T15 T18",
            "agent_runtime.gate.environment_checks": "T8 T13 T14 T15 T18 T21 T38",
            "agent_runtime.gate.issue": "T3 T14 T15",
            "agent_runtime.gate.issue_checks": "T3 T7 T8 T10 T15 T16 T19 T21 T32",
            "agent_runtime.gate.approve_comment": "T29",
            "agent_runtime.gate.comment": "T29",
            "agent_runtime.gate.approve": "T38",
        },
    ),
    "Verify": (
        "All of it once more, on a machine of its own, before the acting secret is anywhere near.",
        {
            "agent_runtime.gate.authorize": "T26",
            "agent_runtime.gate.verification": "T7 T8 T10 T17b T19 T20",
            "agent_runtime.gate.checks": "T8 T9 T10 T11 T19 T20 T23",
            "agent_runtime.gate.pages.result": "T4",
        },
    ),
    "Record": (
        "What is left for whoever looks a year later.",
        {
            "agent_runtime.gate.record": "T34 T37",
            "agent_runtime.gate.evidence": "T35 T39",
            "agent_runtime.gate.consistency": "T35 T36 T37 T40",
            "agent_runtime.gate.bundle": "T36",
            "agent_runtime.gate.pages.record": "T4",
        },
    ),
    "GitHub": (
        "The one client, and what is believed of its answers.",
        {
            "agent_runtime.github.transport": "T33",
            "agent_runtime.github.api": "",
            "agent_runtime.github.archive": "T7",
            "agent_runtime.github.context": "T29",
            "agent_runtime.github.outputs": "T5",
        },
    ),
    "What all of them share": (
        "Names, words, readers.",
        {
            "agent_runtime.job.context": "",
            "agent_runtime.job.trail": "T34",
            "agent_runtime.model.config": "T22",
            "agent_runtime.model.names": "",
            "agent_runtime.codes": "",
            "agent_runtime.results": "",
            "agent_runtime.text.strict_json": "T11",
            "agent_runtime.text.strict_yaml": "T11",
        },
    ),
    "The journal": (
        "The SDK, as far as a job that decides loads it: it records, and sends nothing.",
        {
            "aimgentix.plain": "T34 T36",
            "aimgentix.segments": "T34",
            "aimgentix.chain": "T36",
            "aimgentix.events": "T35",
            "aimgentix.redact": "T33",
            "aimgentix.verify": "T36 T37",
            "aimgentix.network": "",
            "aimgentix._version": "",
        },
    ),
}
HEAD = """\
# What to review

<!-- Written by tools/review.py of the template's repository; edit what it reads, not this page. -->

For whoever must know that the gate holds. These are all modules that `seal`, `approve`, *Verify* and `record` can load,
with their lines, in the order in which they are best read; nothing else of this repository runs in these jobs. The
numbers are those of the [threat model](threat-model.md). The agent's own code, the toolkit and the programs on a
person's machine decide nothing.

Read first: [the checks in their order](github-actions-agent-runtime.md), then the workflow
`.github/workflows/agent-investigate-act.yml`: which job has which permission and which secret.
"""


class Stale(Exception):
    """The groups and what is loaded differ."""


def path_of(module: str) -> Path:
    """The file of a module, below `template/`."""
    place = (TEMPLATE / "sdk" if module.startswith("aimgentix") else TEMPLATE).joinpath(*module.split("."))
    return place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring.

    Raises:
        Stale: it has none.
    """
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    found = re.match(r".+?[.?!](?=\s|$)", " ".join(text.split()))
    if not found:
        raise Stale(f"{path.relative_to(ROOT)}: its docstring has no sentence")
    return found.group()


def _is_empty(module: str) -> bool:
    """Whether a package holds nothing but its sentence."""
    return len(ast.parse(path_of(module).read_text(encoding="utf-8")).body) == 1


def render() -> str:
    """The page.

    Raises:
        Stale: a module has no group, a group names what is not loaded, or a threat that is not in the threat model.
    """
    loaded = {gate: decides.reached(gate) for gate in decides.OTHERS}
    lines = {module: count for counts in loaded.values() for module, count in counts.items()}
    named = {module: threats for _, modules in GROUPS.values() for module, threats in modules.items()}
    packages = [module for module in lines if path_of(module).name == "__init__.py"]
    if set(named) != set(lines) - set(packages):
        raise Stale("in one place only: " + ", ".join(sorted(set(named) ^ (set(lines) - set(packages)))))
    known = set(re.findall(r"^### (T\d+b?) ", THREATS.read_text(encoding="utf-8"), re.MULTILINE))
    unknown = {each for threats in named.values() for each in threats.split()} - known
    if unknown:
        raise Stale("not in the threat model: " + ", ".join(sorted(unknown)))
    parts = [HEAD]
    totals = [
        f"{len(counts)} modules with {sum(counts.values()):,} lines where the gate is {gate}"
        for gate, counts in (("an environment", loaded["environment"]), ("an issue", loaded["issue"]))
    ]
    parts.append(f"In all: {totals[0]}, {totals[1]}.\n")
    for title, (what, modules) in GROUPS.items():
        count = sum(lines[module] for module in modules)
        rows = [
            f"| [`{path.relative_to(TEMPLATE).as_posix()}`](../{path.relative_to(TEMPLATE).as_posix()})"
            f"{_gate(module, loaded)} | {lines[module]} | {sentence(path)} | {' '.join(threats.split()) or '-'} |"
            for module, threats in modules.items()
            for path in [path_of(module)]
        ]
        table = ["| module | lines | what it does | answers |", "| --- | --- | --- | --- |", *rows]
        parts.append(f"## {title}\n\n{what} {count:,} lines.\n\n" + "\n".join(table) + "\n")
    empty = [module for module in packages if _is_empty(module)]
    rest = [
        f"`{path_of(module).relative_to(TEMPLATE).as_posix()}` ({lines[module]} lines)"
        for module in packages
        if module not in empty
    ]
    parts.append(f"Besides, the packages: {', '.join(rest)}, and {len(empty)} that hold nothing but one sentence.\n")
    return "\n".join(parts)


def _gate(module: str, loaded: dict[str, dict[str, int]]) -> str:
    """Which gate alone loads a module."""
    gates = [gate for gate, modules in loaded.items() if module in modules]
    return "" if len(gates) == len(loaded) else f" ({gates[0]} gate)"


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the page")
    mode.add_argument("--check", action="store_true", help="exit 1 where the page is stale")
    options = parser.parse_args()
    try:
        page = render()
    except Stale as problem:
        print(f"tools/review.py: {problem}", file=sys.stderr)
        return 1
    if options.write:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        print(f"{PAGE.relative_to(ROOT)} is stale: run python tools/review.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
