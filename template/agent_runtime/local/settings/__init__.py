"""The repository's settings on GitHub: what they are, what they should be, and the requests that lead there.

`observe` asks GitHub, `model` holds what was seen; `github_plans`, `planning` and `checks` decide, purely.
"""
