"""Bundles of runs, kept beyond GitHub's retention."""
