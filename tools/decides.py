"""Count what decides: the modules and lines that seal, approve, *Verify* and record can load, for each kind of gate.

    python tools/decides.py [--list]

Counted is what their imports reach, those inside functions too, SDK included, with the packages that hold it: what a
reviewer of the gate has to read. The SDK's package imports its client for whoever asks for it, and the runtime's what a
team subclasses; neither is followed, because contracts of import-linter hold that these jobs never ask.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PATHS = (ROOT / "template", ROOT / "template" / "sdk")
STARTS = [
    "agent_runtime.__main__",
    *(f"agent_runtime.commands.{name}" for name in ("seal", "approve", "authorize", "record")),
]
# What a repository with the other gate never imports.
OTHERS = {
    "environment": ("agent_runtime.gate.issue", "agent_runtime.gate.approve_comment", "agent_runtime.gate.comment"),
    "issue": ("agent_runtime.gate.environment",),
}


def reached(gate: str) -> dict[str, int]:
    """Lines of every module that the jobs which decide can load, by its name."""
    sys.path[:0] = map(os.fspath, PATHS)
    try:
        graph = grimp.build_graph("agent_runtime", "aimgentix", exclude_type_checking_imports=True, cache_dir=None)
    finally:
        del sys.path[: len(PATHS)]
    for module in OTHERS[gate]:
        graph.remove_module(module)
    graph.remove_import(importer="aimgentix", imported="aimgentix.client")
    graph.remove_import(importer="agent_runtime", imported="agent_runtime.agent")
    modules: set[str] = set()
    waiting = [*STARTS]
    while waiting:
        module = waiting.pop()
        if module not in modules:
            modules.add(module)
            package = module.rpartition(".")[0]
            waiting += [*graph.find_modules_directly_imported_by(module), *([package] if package else [])]
    return {module: len(next(_files(module)).read_text(encoding="utf-8").splitlines()) for module in sorted(modules)}


def _files(module: str) -> Iterator[Path]:
    for path in (root.joinpath(*module.split(".")) for root in PATHS):
        yield from (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file())


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--list", action="store_true", help="name every module")
    options = parser.parse_args()
    for gate in OTHERS:
        found = reached(gate)
        if options.list:
            print(*(f"{lines:6} {module}" for module, lines in found.items()), sep="\n")
        print(f"{gate:12} {len(found)} modules, {sum(found.values()):,} lines")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
