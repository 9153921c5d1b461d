"""Run folders, resuming, sweeps and where their jobs run."""
