"""Repositories, worlds and services for whole runs of the workflow."""

from __future__ import annotations

from support.world import generated, github, host, locked_python, project, service, template, world

__all__ = ["generated", "github", "host", "locked_python", "project", "service", "template", "world"]
