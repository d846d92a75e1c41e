"""The Python that tests use for programs of the runtime: as isolated as any, and an edited source is compiled anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support import compiled, interpreter
from support.gate_world import make_root


def ended(python: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, *words], capture_output=True, text=True, check=False)


def test_it_takes_what_is_kept_and_names_the_source(tmp_path: Path) -> None:
    """What is kept of a module is exchanged here, so that it shows."""
    module = tmp_path / "kept_here.py"
    module.write_text("def run():\n    raise ValueError\n")
    kept = Path(interpreter.python()).parents[1] / "code" / compiled.name(module.read_bytes())
    asked = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import kept_here; kept_here.run()"
    script = ("-I", "-S", "-B", "-c", asked)
    kept.write_bytes(compiled.code(b"def run():\n    raise KeyError\n"))
    try:
        done = ended(interpreter.python(), *script)
    finally:
        kept.unlink()

    assert done.stderr.splitlines()[-1] == "KeyError"
    assert f'File "{module}", line 2, in run' in done.stderr
    module.write_text("def run():\n    raise ValueError\n\n")
    assert ended(interpreter.python(), *script).stderr.splitlines()[-1] == "ValueError"


@pytest.mark.parametrize("options", [("-I",), ("-I", "-S")])
def test_it_finds_the_same_modules_as_the_python_that_runs_the_tests(options: tuple[str, ...]) -> None:
    show = "import sys; print(sys.version, sys.flags, [name for name in sys.path if 'site-packages' in name][-1:])"

    assert (
        ended(interpreter.python(), *options, "-c", show).stdout == ended(sys.executable, *options, "-c", show).stdout
    )


def test_an_edit_of_the_runtime_runs(tmp_path: Path) -> None:
    root = make_root(tmp_path / "repository")
    (root / "agent_runtime").unlink()
    (root / "agent_runtime").mkdir()
    for name in ("__init__.py", "__main__.py"):
        (root / "agent_runtime" / name).write_text("raise SystemExit('edited')\n")

    assert ended(interpreter.python(), "-I", str(root / "agent_runtime" / "__main__.py")).stderr == "edited\n"
