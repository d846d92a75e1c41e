"""The repositories, worlds and services of the workflow tests, for attacks on whole runs."""

from __future__ import annotations

from workflow.conftest import generated, locked_python, project, service, template, world

__all__ = ["generated", "locked_python", "project", "service", "template", "world"]
