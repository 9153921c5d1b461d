"""The machine and the versions behind measured numbers, and summaries of noisy timings."""

import os
import platform
import statistics
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

# The instruction sets that decide the speed of matmuls in float32, bfloat16 and int8.
_SETS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "avx_vnni", "avx512_vnni", "amx_int8")


def describe_machine(packages: Sequence[str], threads: int | None = None) -> dict[str, Any]:
    """The CPU and its instruction sets, the number of threads, versions of Python and of the packages.

    ``load`` is the average number of processes ready to run in the last minute, well below 1 on an idle machine.

    Args:
        packages: whose versions are listed.
        threads: that were used; None for those of PyTorch.
    """
    return {
        **processor(),
        "threads": threads or torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def processor() -> dict[str, Any]:
    """The CPU and its instruction sets."""
    sets = [name for name in _SETS if torch.cpu.get_capabilities().get(name)]
    return {"cpu": _cpu_name(), "instruction_sets": sets}


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


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
