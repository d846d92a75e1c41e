"""Text in and out: escaping, Markdown, strict YAML, patterns, redaction."""
