"""Text in and out: escaping, Markdown, strict YAML, globs and formats."""
