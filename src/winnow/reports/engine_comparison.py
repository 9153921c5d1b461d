"""The comparison of engines as text: a table, the fastest engine on this machine, and what zeros contribute."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from winnow.command_line import command_line
from winnow.deployment.comparison import SPARSE_FROM, fastest
from winnow.machine import machine_lines, spread, three_digits
from winnow.text import aligned, titled

_FASTER = 0.97  # ratios below this are called faster


def comparison_text(row: Mapping[str, Any], folder: Path) -> str:
    """A table and a few sentences on the compared deployment of a run, whose result.json is ``row``."""
    compared, precision = row["deployment"]["latency"], row["deployment"]["precision"]
    sentences = [*_recommended(compared, precision, folder), *_zeros(row)]
    if not any(way["engine"] == "openvino" for way in compared["ways"].values()):
        sentences.append("OpenVINO is not installed; it is often faster: pip install openvino.")
    title = f"speed on this machine, {compared['length']} random tokens"
    return "\n".join(
        titled(title, [machine_lines(compared["machine"]), "", *aligned(latencies(compared)), "", *sentences])
    )


def latencies(compared: Mapping[str, Any]) -> list[list[str]]:
    """The lines of a table of all ways to run the model; titles come first."""
    batches = compared["batches"]
    table = [["", *(f"batch {batch}: {unit}" for batch in batches for unit in ("ms", "ratio"))]]
    for name in compared["ways"]:
        timed = [batches[batch][name] for batch in batches]
        cells = [(three_digits(1e3 * each["latency"]["median"]), spread(each["ratio"])) for each in timed]
        table.append([name, *(text for pair in cells for text in pair)])
    return table


def _recommended(compared: Mapping[str, Any], precision: str, folder: Path) -> Iterator[str]:
    """The fastest way to run the deployment, its command, and whether the float32 graph would be faster."""
    speedups: dict[str, list[str]] = {}
    for batch, timed in compared["batches"].items():
        name = fastest(compared, batch, precision)
        way = compared["ways"][name]
        options = f"engine={way['engine']}" + (" precision=auto" if way["precision"] == "auto" else "")
        speedups.setdefault(options, []).append(f"{1 / timed[name]['ratio']['median']:.2f} times at batch {batch}")
    texts = "; ".join(f"{options}, {' and '.join(times)}" for options, times in speedups.items())
    yield f"Fastest here, relative to the float32 graph in ONNX Runtime: {texts}."
    yield command_line("predict", f"deployment={folder}", *next(iter(speedups)).split())
    batch, timed = next(iter(compared["batches"].items()))
    deployed, plain = (timed[fastest(compared, batch, graph)]["ratio"]["median"] for graph in (precision, "float32"))
    if plain < _FASTER * deployed:
        name = fastest(compared, batch, "float32")
        yield f"The float32 graph would be faster: {name}, {1 / plain:.2f} times; export a run that is not quantised."


def _zeros(row: Mapping[str, Any]) -> Iterator[str]:
    if row["sparsity"] < SPARSE_FROM:
        return
    facts, compared = row["deployment"], row["deployment"]["latency"]
    yield (
        f"Zeros ({100 * row['sparsity']:.2f} % of the encoder) make downloads smaller: {facts['bytes'] / 1e6:,.1f} MB "
        f"are compressed to {facts['compressed_bytes'] / 1e6:,.1f} MB. engine=sparse skips whole blocks of them."
    )
    batch, timed = next(iter(compared["batches"].items()))
    for name, way in compared["ways"].items():
        if way["skip_zeros"]:
            ratio = timed[name]["skipping_zeros"]
            verdict = "is faster" if ratio["max"] < _FASTER else "is no faster"
            yield f"OpenVINO {verdict} here with its option to skip them: ratio {spread(ratio)} at batch {batch}."
