"""Updates from the template, and drift from it.

Everything here goes by two renderings: of the version and the answers that `.copier-answers.yml` records, and of those
that are wanted.  Copier makes them, in a temporary folder; git compares, merges and hands back the result.
"""
