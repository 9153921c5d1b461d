"""Speed measurements, run by hand: ``python -m benchmarks.training``, ``.masks`` and ``.inference``."""
