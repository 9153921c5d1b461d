"""Speed measurements, run by hand: ``python -m benchmarks.training``, ``.masks`` and ``.inference``."""

import winnow  # noqa: F401 -- before the libraries: it switches off their telemetry
