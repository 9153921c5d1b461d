"""Reading and writing files: atomic writes, locks, local files, hub access."""
