"""The transparency log: what was stored, so that somebody else can check it."""
