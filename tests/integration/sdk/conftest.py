"""The SDK's surroundings; see support/sdk/fixtures.py."""

from __future__ import annotations

from support.sdk.fixtures import clean_environment, journal_dir, run_python, sink

__all__ = ["clean_environment", "journal_dir", "run_python", "sink"]
