"""The machine and the versions behind measured numbers, and summaries of noisy timings."""

import os
import platform
import statistics
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

# The instruction sets that decide the speed of matmuls in float32, bfloat16 and int8; Linux writes avx512f.
_SETS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "avx_vnni", "avx512_vnni", "amx_int8")


def describe_machine(packages: Sequence[str], threads: int | None = None) -> dict[str, Any]:
    """The CPU and its instruction sets, the number of threads, versions of Python and of the packages.

    ``load`` is the average number of processes ready to run in the last minute, well below 1 on an idle machine.

    Args:
        packages: whose versions are listed.
        threads: that were used; None for those of PyTorch.
    """
    if threads is None:
        import torch  # heavy, and not installed where a deployment serves

        threads = torch.get_num_threads()
    return {
        **processor(),
        "threads": threads,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def processor() -> dict[str, Any]:
    """The CPU and its instruction sets; none of these are known without Linux's /proc."""
    info = _cpu_info()
    flags = info.get("flags", "").replace("avx512f", "avx512_f").split()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "instruction_sets": [name for name in _SETS if name in flags],
    }


def machine_lines(machine: dict[str, Any]) -> str:
    """The result of `describe_machine` as text, for the head of a report."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return (
        f"{machine['cpu']} ({' '.join(machine['instruction_sets'])}), {threads} on {machine['cores']} cores, "
        f"load before the start {machine['load']}\n{versions}"
    )


def summarise(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def spread(summary: dict[str, float]) -> str:
    """``1.02 (0.99..1.05)``: median, then minimum and maximum."""
    return "{} ({}..{})".format(*(three_digits(summary[name]) for name in ("median", "min", "max")))


def three_digits(value: float) -> str:
    """Three significant digits, with trailing zeros: 1.00, 18.4, 338; all digits of a larger number."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:#.3g}".rstrip(".")


def _cpu_info() -> dict[str, str]:
    """The entries of the first processor in /proc/cpuinfo."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().partition("\n\n")[0].splitlines() if file.exists() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
