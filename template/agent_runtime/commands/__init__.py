"""The commands, a file each: its docstring is its help, `configure()` adds its options, `run()` runs it."""
