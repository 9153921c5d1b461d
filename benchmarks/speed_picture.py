"""Draw the speed of engines over the sparsity of encoders: ``python -m benchmarks.speed_picture OUT FIGURES ...``.

The files are those that ``benchmarks.inference --json`` writes for the encoders of `benchmarks.encoders`, one file for
each shape.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

TITLES = {"minilm": "MiniLM", "bert_base": "BERT-base"}
# Title of a line -> engine, and the kind of zeros in the names of its models.
LINES = {
    "sparse engine, blocks of four zeros": ("sparse", "block4"),
    "sparse engine, single zeros": ("sparse", "unstructured"),
    "OpenVINO int8": ("openvino int8", "block4"),
    "ONNX Runtime int8": ("onnxruntime", "block4"),
}
_LENGTH = 128


def speeds(figures: dict[str, Any], engine: str, structure: str) -> dict[int, float]:
    """Sparsity in percent -> how many times as fast as the dense float32 model in ONNX Runtime, one text at a time."""
    found = {}
    for timing in figures["timings"]:
        name = re.fullmatch(rf"\w+?_(?:int8|{structure}_(\d+))", timing["model"])
        if name and timing["engine"] == engine and (timing["batch_size"], timing["length"]) == (1, _LENGTH):
            found[int(name[1] or 0)] = 1 / timing["ratio"]["median"]
    return dict(sorted(found.items()))


def draw(axes: Axes, figures: dict[str, Any]) -> None:
    shape = figures["timings"][0]["model"].removesuffix("_dense")
    for title, (engine, structure) in LINES.items():
        measured = speeds(figures, engine, structure)
        axes.plot(list(measured), list(measured.values()), marker="o", label=title)
        above = structure == "block4"
        for sparsity, speed in measured.items() if engine == "sparse" else ():
            if sparsity or above:  # without zeros both kinds are the same model
                text, at = f"{speed:.1f}", (sparsity, speed)
                offset = (-14, 2) if above else (14, -6)
                axes.annotate(text, at, offset, textcoords="offset points", ha="center", fontsize=8)
    axes.set_title(f"{TITLES.get(shape, shape)}, {_LENGTH} tokens, one thread")
    axes.set_xlabel("zeros in the encoder, %")
    axes.set_ylabel("times as fast as dense float32\nin ONNX Runtime")
    axes.set_xlim(-8, 106)
    axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
    axes.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="PNG to write")
    parser.add_argument("figures", type=Path, nargs="+")
    options = parser.parse_args()
    figure, panels = plt.subplots(1, len(options.figures), figsize=(5 * len(options.figures), 4), squeeze=False)
    for axes, path in zip(panels[0], options.figures, strict=True):
        draw(axes, json.loads(path.read_text()))
    panels[0][0].legend(fontsize=8, loc="upper left")
    figure.tight_layout()
    figure.savefig(options.out, dpi=120)
    print(options.out)


if __name__ == "__main__":
    main()
