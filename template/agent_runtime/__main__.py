"""Start the runtime so that nothing of the repository can take the place of a module of Python's or of a package.

    python -I agent_runtime/__main__.py COMMAND

Jobs that decide run this file.  Isolated (`-I`), Python puts neither the repository's root nor this folder on its path;
this loads the two packages that the repository brings from where they lie, and adds no folder of the repository to the
path.  Without the interpreter's own packages (`-S`), the locked ones come from where `setup-gate` put them, and from
nowhere else.
"""

import sys

if not sys.flags.isolated:
    sys.exit("error: RUN006: not isolated. Start it as: python -I agent_runtime/__main__.py")
# What lies in a __pycache__ of the repository is not what somebody reviewed.
sys.dont_write_bytecode = True
sys.pycache_prefix = "/nonexistent/agent-runtime"

import os  # noqa: E402  nothing before the lines above
from importlib.util import module_from_spec, spec_from_file_location  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  nothing heavier yet


def load(name: str, folder: str) -> None:
    """Make the package in `folder` importable as `name`, and nothing else of what lies beside it."""
    start = os.path.join(folder, "__init__.py")  # noqa: PTH118
    try:
        spec = spec_from_file_location(name, start, submodule_search_locations=[folder])
        module = module_from_spec(spec)  # type: ignore[arg-type]
        sys.modules[name] = module
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except FileNotFoundError as problem:
        sys.exit(f"error: RUN002: {problem.filename} is missing. Restore it from the history")


if sys.flags.no_site:
    sys.path.append(os.path.join(os.environ.get("RUNNER_TEMP", os.devnull), "agent-gate"))  # noqa: PTH118
load("aimgentix", os.path.join(ROOT, "sdk", "aimgentix"))  # noqa: PTH118
load("agent_runtime", os.path.join(ROOT, "agent_runtime"))  # noqa: PTH118

if __name__ == "__main__":
    from agent_runtime.cli import main_without_agent

    raise SystemExit(main_without_agent(ROOT))
