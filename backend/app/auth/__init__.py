"""Who may write and who may read."""
