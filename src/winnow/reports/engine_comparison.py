"""What a comparison of engines found: a table, the fastest for this machine, and what zeros are good for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from winnow.deployment.comparison import SPARSE, fastest
from winnow.machine import digits, machine_lines, shown
from winnow.text import aligned

_FASTER = 0.97  # a ratio below this is worth a word


def comparison_text(row: Mapping[str, Any], folder: Path) -> str:
    """A table and a few sentences.

    Args:
        row: result.json of the run; its deployment has been compared.
        folder: the deployment, as a user types it.
    """
    compared = row["deployment"]["latency"]
    title = f"speed on this machine, {compared['length']} random tokens"
    precision = row["deployment"]["precision"]
    sentences = [*_float_is_faster(compared, precision), *_about_zeros(row), *_missing(compared)]
    sentences = [*_recommended(compared, precision, folder), *sentences]
    return "\n".join(
        [title, "-" * len(title), machine_lines(compared["machine"]), "", *aligned(_table(compared)), "", *sentences]
    )


def _table(compared: Mapping[str, Any]) -> list[list[str]]:
    batches = compared["batches"]
    table = [["", *(f"batch {batch}: {what}" for batch in batches for what in ("ms", "ratio"))]]
    for name in compared["ways"]:
        timed = [batches[batch][name] for batch in batches]
        cells = [(digits(1e3 * each["latency"]["median"]), shown(each["ratio"])) for each in timed]
        table.append([name, *(text for pair in cells for text in pair)])
    return table


def _recommended(compared: Mapping[str, Any], precision: str, folder: Path) -> Iterator[str]:
    """One sentence: the fastest way to run what has been deployed; and the command."""
    by_words: dict[str, list[str]] = {}
    for batch, timed in compared["batches"].items():
        name = fastest(compared, batch, precision)
        way = compared["ways"][name]
        words = f"engine={way['engine']}" + (" precision=auto" if way["precision"] == "auto" else "")
        by_words.setdefault(words, []).append(f"{1 / timed[name]['ratio']['median']:.2f} times at batch {batch}")
    said = "; ".join(f"{words}, {' and '.join(times)}" for words, times in by_words.items())
    yield f"Fastest here, beside the float32 graph in ONNX Runtime: {said}."
    yield f"python -m src.predict deployment={folder} {next(iter(by_words))}"


def _float_is_faster(compared: Mapping[str, Any], precision: str) -> Iterator[str]:
    batch, timed = next(iter(compared["batches"].items()))
    ours, plain = (timed[fastest(compared, batch, graph)]["ratio"]["median"] for graph in (precision, "float32"))
    if plain < _FASTER * ours:
        yield (
            f"The float32 graph would be faster: {fastest(compared, batch, 'float32')}, {1 / plain:.2f} times; export "
            "a run that is not quantised."
        )


def _about_zeros(row: Mapping[str, Any]) -> Iterator[str]:
    if row["sparsity"] < SPARSE:
        return
    facts, compared = row["deployment"], row["deployment"]["latency"]
    yield (
        f"Zeros ({100 * row['sparsity']:.2f} % of the encoder) make downloads smaller: {facts['bytes'] / 1e6:,.1f} MB "
        f"are {facts['compressed_bytes'] / 1e6:,.1f} MB packed. ONNX Runtime multiplies by them as by any number."
    )
    batch, timed = next(iter(compared["batches"].items()))
    for name, way in compared["ways"].items():
        if way["skip_zeros"]:
            found = timed[name]["skipping_zeros"]
            verdict = "is faster" if found["max"] < _FASTER else "is no faster"
            yield f"OpenVINO {verdict} here with its option to skip them: ratio {shown(found)} at batch {batch}."


def _missing(compared: Mapping[str, Any]) -> Iterator[str]:
    if not any(way["engine"] == "openvino" for way in compared["ways"].values()):
        yield "OpenVINO is not installed; it is often faster: pip install openvino."
