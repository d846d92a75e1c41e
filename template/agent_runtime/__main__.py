"""Start the runtime so that nothing of the repository can take the place of a module of Python's or of a package.

    python -I agent_runtime/__main__.py COMMAND

Jobs that decide run this file.  Isolated (`-I`), Python puts neither the repository's root nor this folder on its path;
this loads the two packages that the repository brings from where they are, and adds no folder of the repository to the
path.  Without the interpreter's own packages (`-S`), the locked ones come from where `setup-gate` put them, and from
nowhere else.
"""

import sys

if not sys.flags.isolated:
    sys.exit("error: RUN006: not isolated. Start it as: python -I agent_runtime/__main__.py")

import os
from importlib.machinery import FileFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  nothing heavier yet
REVIEWED = (os.path.join(ROOT, "agent_runtime", ""), os.path.join(ROOT, "sdk", "aimgentix", ""))  # noqa: PTH118


class Source(SourceFileLoader):
    """Runs the text that somebody reviewed, and nothing that is compiled beside it."""

    def path_stats(self, path):  # type: ignore[no-untyped-def]
        """Report no modification time: so nothing compiled is looked for, and nothing kept."""
        raise OSError(path)


def of_the_repository(folder: str) -> FileFinder:
    """Find modules of runtime and SDK by their text alone; elsewhere, also in `.venv`, Python looks as ever."""
    if not os.path.join(folder, "").startswith(REVIEWED):  # noqa: PTH118
        raise ImportError(folder)
    return FileFinder(folder, (Source, [".py"]))


def load(name: str, folder: str, missing: str) -> None:
    """Make the package in `folder` importable as `name`, and nothing else of what is beside it.

    Arguments:
        missing: the code of the error where it is not there.
    """
    start = os.path.join(folder, "__init__.py")  # noqa: PTH118
    try:
        found = Source(name, start)
        spec = spec_from_file_location(name, start, loader=found, submodule_search_locations=[folder])
        module = module_from_spec(spec)  # type: ignore[arg-type]
        sys.modules[name] = module
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except FileNotFoundError as problem:
        sys.exit(f"error: {missing}: {problem.filename} is missing. Restore it from the history")


sys.path_hooks.insert(0, of_the_repository)
if sys.flags.no_site:
    sys.path.append(os.path.join(os.environ.get("RUNNER_TEMP", os.devnull), "agent-gate"))  # noqa: PTH118
load("aimgentix", os.path.join(ROOT, "sdk", "aimgentix"), "RUN003")  # noqa: PTH118
load("agent_runtime", os.path.join(ROOT, "agent_runtime"), "RUN002")  # noqa: PTH118

if __name__ == "__main__":
    from agent_runtime.cli import main_without_agent

    raise SystemExit(main_without_agent(ROOT))
