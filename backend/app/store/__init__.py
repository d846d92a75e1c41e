"""Where events are kept: one writer, several readers, SQLite or PostgreSQL."""
