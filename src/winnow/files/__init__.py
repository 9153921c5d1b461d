"""Files: atomic writes, locks, run folders, local data and models, the hub."""
