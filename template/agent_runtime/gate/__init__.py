"""What decides: it never runs team code, and imports nothing that does."""
