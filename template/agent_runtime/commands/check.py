"""Check that this repository is complete: answers, configuration, policy, workflows, the template's files."""

from __future__ import annotations

import argparse

from agent_runtime.cli import Call


def configure(parser: argparse.ArgumentParser) -> None:
    """This command has no options."""


def run(call: Call) -> int:
    """Run it."""
    from agent_runtime.local import check  # noqa: PLC0415  each command pays for what it uses

    return check.main([str(call.root)])
