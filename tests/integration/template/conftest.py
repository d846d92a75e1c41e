"""One template for all tests of this folder, and a way to render it through either engine."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import engines, interpreter, quick, updates
from support.engines import Render


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for temporary files: Cookiecutter leaves its copy of a template behind when a hook refuses."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree as a repository with the tag v1.0.0; tests don't change it."""
    return engines.clone_template(tmp_path_factory.mktemp("template") / "gated-agents")


@pytest.fixture(scope="session")
def render(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """Render the answers with Copier; the same answers give the same folder, which tests don't change."""
    rendered: dict[tuple[tuple[str, Any], ...], Path] = {}

    def copy(**given: Any) -> Path:
        given = {"agent_name": engines.NAME, **given}
        key = tuple(sorted(given.items()))
        if key not in rendered:
            rendered[key] = engines.run_copier(template, tmp_path_factory.mktemp("copier") / "project", given)
        return rendered[key]

    return copy


def _baker(template: Path, cookies: Any) -> Render:
    def run(**given: Any) -> Path:
        with pytest.MonkeyPatch.context() as patch, quick.rendering(is_new=False):
            patch.setenv("PWD", str(template))  # pytest-cookies does not start a shell, which would set it
            patch.setattr(sys, "executable", interpreter.python())  # which runs the hooks
            result = cookies.bake(extra_context={"agent_name": engines.NAME, **given}, template=str(template))
        if result.exception:
            raise result.exception
        return Path(result.project_path)

    return run


@pytest.fixture
def bake(template: Path, cookies: Any) -> Render:
    """Render the answers with Cookiecutter; a failure is raised."""
    return _baker(template, cookies)


@pytest.fixture(scope="session")
def bake_once(template: Path, cookies_session: Any) -> Render:
    """The same for what outlives a test."""
    return _baker(template, cookies_session)


@pytest.fixture(scope="session")
def later(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template one release later, in which every kind of file has changed; tests don't change it."""
    return updates.release_after(template, tmp_path_factory.mktemp("later") / "gated-agents", updates.next_release)


@pytest.fixture(scope="session")
def first(template: Path, later: Path, render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of release 1.0.0 that finds the later one; tests don't change it."""
    made = updates.born(render(), tmp_path_factory.mktemp("born") / "project", template, later)
    engines.git(made, "repack", "-adq")
    return made


@pytest.fixture
def project(first: Path, tmp_path: Path) -> Path:
    """A repository of release 1.0.0 that finds the later one."""
    return Path(shutil.copytree(first, tmp_path / "project", symlinks=True))
