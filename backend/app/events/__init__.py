"""Audit events: what they are, how they arrive and how they are shown. Nothing here does I/O."""
