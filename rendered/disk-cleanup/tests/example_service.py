#!/usr/bin/env python3
"""A folder over its quota to try an agent on: four old files, and two that somebody still uses.

    python example_service.py fill FOLDER               make the folder; prints what it holds as one line of JSON
    python example_service.py with -- COMMAND [ARG...]  make one, run a command beside it, and remove it afterwards

Standard library only; POSIX only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Tuple

SERVICE = "example"
QUOTA_BYTES = 20_000
DAY = 24 * 3600

# Name, bytes and age in days: 36 000 bytes, of which the four oldest have 18 000.
FILES: Tuple[Tuple[str, int, float], ...] = (
    ("build-101.tar", 6_000, 40),
    ("build-102.tar", 6_000, 31),
    ("logs/build-101.log", 2_000, 40),
    ("tools/cleanup.py", 4_000, 30),
    ("build-118.tar", 9_000, 1),
    ("logs/build-118.log", 9_000, 0),
)
CATALOGUE = "services:\n  {service}:\n    folder: {folder}\n    quota_bytes: {quota}\n"


def fill(folder: Path) -> Dict[str, int]:
    """Make the files; return what is in the folder."""
    for name, size, days in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        moment = time.time() - days * DAY
        os.utime(path, (moment, moment))
    return {"used": sum(size for _, size, _ in FILES), "quota": QUOTA_BYTES}


def around(command: List[str]) -> int:
    """Run a command beside a folder over its quota; return the command's exit code."""
    with tempfile.TemporaryDirectory(prefix="example-folder-") as place:
        folder, catalogue = Path(place).resolve() / "cache", Path(place) / "services.yml"
        held = fill(folder)
        catalogue.write_text(CATALOGUE.format(service=SERVICE, folder=folder, quota=QUOTA_BYTES), encoding="utf-8")
        print(f"example folder {folder}: {held['used']} bytes, quota {QUOTA_BYTES}", file=sys.stderr, flush=True)
        try:
            code = subprocess.call(command, env=dict(os.environ, SERVICES_FILE=str(catalogue)))
        except OSError as problem:
            print(f"can't run {command[0]}: {problem.strerror}", file=sys.stderr)
            return 127
        return code if code >= 0 else 128 - code


def main(arguments: List[str]) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="mode", required=True)
    filling = commands.add_parser("fill", help="make the folder")
    filling.add_argument("folder", type=Path)
    within = commands.add_parser("with", help="run a command beside it", usage="%(prog)s -- COMMAND...")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:split])
    if options.mode == "fill":
        print(json.dumps(fill(options.folder)))
        return 0
    if not arguments[split + 1 :]:
        within.error("a COMMAND is needed after --")
    return around(arguments[split + 1 :])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
