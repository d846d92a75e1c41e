"""The SDK installed from its folder, as the guide has it: it delivers, and no engine stumbles over what it leaves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]

from support import engines
from support.engines import Render
from support.sdk.sink import Sink

AGENT = """
from aimgentix import AuditClient

with AuditClient(agent_instance_id="restarter-1", trace_id="trace-test-001") as client:
    client.record("tool_call", "service/payments")
print(client.counters)
"""


def test_installed_from_its_folder_it_delivers_and_disturbs_no_engine(
    template: Path, render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, python = tmp_path / "gated-agents", tmp_path / "venv" / "bin" / "python"
    shutil.copytree(template, copy, symlinks=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(python.parents[1])], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]

    done = engines.run([*pip, "install", "--quiet", "-e", "."], cwd=copy / "template" / "sdk")

    assert done.returncode == 0, done.stderr
    with Sink() as sink:
        settings = {"AIMGENTIX_API_URL": sink.url, "HOME": str(tmp_path), "no_proxy": "127.0.0.1"}
        done = engines.run([str(python), "-c", AGENT], cwd=tmp_path, environment=settings)
        assert done.stdout == "captured 1, delivered 1, spooled 0, rejected 0\n", done.stderr
        assert [event["trace_id"] for event in sink.events.values()] == ["trace-test-001"]

    left = {path.name for path in (copy / "template" / "sdk").iterdir()} - {"README.md", "aimgentix", "pyproject.toml"}
    assert left == {"aimgentix.egg-info"}
    whole = engines.tree(render())
    given = {"agent_name": engines.NAME}
    assert engines.tree(engines.run_copier(copy, tmp_path / "copier", given)) == whole
    monkeypatch.setenv("PWD", str(copy))
    baked = Path(cookiecutter(str(copy), no_input=True, extra_context=given, output_dir=str(tmp_path / "out")))
    assert engines.tree(baked) == whole

    shutil.copytree(copy / "template" / "sdk" / "aimgentix.egg-info", baked / "sdk" / "aimgentix.egg-info")
    checked = engines.run_check(baked)
    assert checked.returncode == 0, checked.stdout + checked.stderr
