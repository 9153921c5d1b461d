"""Run folders, resuming runs, sweeps and their launchers."""
