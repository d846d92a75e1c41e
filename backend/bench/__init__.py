"""Measuring the backend: real processes, real stores, one command (`python -m bench`)."""
