"""The SDK's surroundings; see support/sdk/fixtures.py."""

from __future__ import annotations

import importlib.util

from support.sdk.fixtures import clean_environment, journal_dir, run_python, sink

__all__ = ["clean_environment", "journal_dir", "run_python", "sink"]

# The schema is the same on every Python: it is checked where the development tools are, jsonschema among them.
collect_ignore = [] if importlib.util.find_spec("copier") else ["test_schema.py"]
