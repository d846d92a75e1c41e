"""Write the locks of Python packages anew: `make lock`, and `make lock UPGRADE=1` for the newest versions.

requirements/*.lock                     what this repository's own tools and tests need
template/requirements.lock              what a job without a team's code installs
template/requirements-dev.lock          what `make test` and `make lint` of an agent repository need besides
template/requirements-uv.lock           what `make lock` of an agent repository needs
template/requirements-notify.lock       what a job that sends messages installs: the runtime's packages and apprise
template/.github/copier.lock            what the workflow Agent drift of an agent repository renders with
template/use_cases/*/requirements-agent.lock
                                        what a new agent installs: the runtime's packages and its use case's
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "template"))  # so that it runs as a file too

from agent_runtime.local import answers  # noqa: E402  the path above comes first

TEMPLATE = REPOSITORY / "template"
UV = Path(sys.executable).with_name("uv")

# Lock, what it is resolved from, the oldest Python that it must work for.
OWN = (
    ("requirements/dev.lock", "requirements/dev.in", "3.11"),
    ("requirements/docs.lock", "requirements/docs.in", "3.11"),
    ("requirements/node.lock", "requirements/node.in", "3.11"),
    ("requirements/sdk-tests.lock", "requirements/sdk-tests.in", "3.8"),
)
RUNTIME = ("template/requirements.lock", "template/requirements.in", "3.8")
# These are resolved here, so that their lists are not files of an agent repository.
TOOLS = (
    ("template/requirements-dev.lock", "requirements/agent-dev.in", "3.8"),
    ("template/requirements-uv.lock", "requirements/agent-uv.in", "3.8"),
    ("template/.github/copier.lock", "requirements/agent-copier.in", "3.13"),
)
# On the Python of setup-gate, or the one of this repository's tests; the runtime's packages in the runtime's versions.
NOTIFY = ("template/requirements-notify.lock", ("template/requirements.in", "requirements/agent-notify.in"), "3.11")
# An agent repository installs wheels only.
WHEELS = "--only-binary=:all:"


def resolve(folder: Path, lock: str, python: str, *words: str, command: str = "make lock") -> None:
    """Write `lock`; the files that it is resolved from and options are in `words`."""
    uv = [str(UV), "pip", "compile", "--quiet", "--universal", f"--python-version={python}", "--generate-hashes"]
    uv += ["--no-emit-index-url", f"--custom-compile-command={command}", *words, f"--output-file={lock}"]
    environment = {name: value for name, value in os.environ.items() if name != "PIP_FIND_LINKS"}
    subprocess.run(uv, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)


def resolve_seed(seed: Path, *words: str) -> None:
    """Write the first lock of a use case, as `make lock` of an agent repository would in its root."""
    lock, python = seed.with_suffix(".lock"), answers.oldest_python(seed.parent.name)
    with tempfile.TemporaryDirectory() as name:
        for path in (TEMPLATE / "requirements.in", seed):
            shutil.copy(path, name)
        # Versions stay as they are; those of a new use case begin as the runtime's.
        shutil.copy(lock if lock.exists() else TEMPLATE / "requirements.lock", Path(name, lock.name))
        # template/Makefile writes and reads this head.
        resolve(
            Path(name),
            lock.name,
            python,
            *("requirements.in", seed.name, WHEELS, *words),
            command=f"make lock  # for Python {python} and newer",
        )
        shutil.copy(Path(name, lock.name), lock)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    words = ["--upgrade"] if parser.parse_args().upgrade else []
    for lock, listed, python in OWN:
        resolve(REPOSITORY, lock, python, listed, *words)
    lock, listed, python = RUNTIME
    resolve(TEMPLATE, Path(lock).name, python, Path(listed).name, WHEELS, *words)
    for lock, listed, python in TOOLS:
        resolve(REPOSITORY, lock, python, listed, WHEELS, "--no-annotate", *words)
    lock, lists, python = NOTIFY
    as_runtime = ("--constraints=template/requirements.lock", "--no-annotate")
    resolve(REPOSITORY, lock, python, *lists, WHEELS, *as_runtime, *words)
    for seed in sorted(TEMPLATE.glob("use_cases/*/requirements-agent.in")):
        resolve_seed(seed, *words)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
