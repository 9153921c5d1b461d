"""One style for all pictures of a report, and pictures as files or inside a page."""

import base64
import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

from winnow.text import truncated

INK, MUTED, RULE, PAPER = "#1b1f24", "#59636e", "#d8dee4", "#ffffff"
# Distinguishable without colour vision; each has a contrast of at least 4.5 with white, and with black if inverted.
_COLOURS = ("#a8470a", "#0864ab", "#0a7052", "#8f3d78", "#6b5900")
_MARKERS = ("s", "o", "^", "D", "v")
_STYLE: dict[Any, Any] = {
    "text.color": INK,
    "text.parse_math": False,  # a name may contain a dollar sign
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,  # inches: a tick at the edge is not cut in a wider font
    "svg.fonttype": "none",  # text stays text, in a font of the reader's system
    "svg.hashsalt": "winnow",  # the same figures give the same file
    "pdf.fonttype": 42,
}


class Look(NamedTuple):
    """How the groups of one teacher look in every picture of a task; colour and marker are each enough."""

    colour: str
    marker: str
    text: str


def teacher_looks(teachers: Iterable[str]) -> dict[str, Look]:
    """A look for each teacher of a task; that of ``none`` is always the same."""
    looks = {}
    for i, teacher in enumerate(dict.fromkeys(["none", *teachers])):
        text = "no teacher" if teacher == "none" else truncated(f"teacher: {teacher}", 24)
        marker = _MARKERS[(i + i // len(_COLOURS)) % len(_MARKERS)]
        looks[teacher] = Look(_COLOURS[i % len(_COLOURS)], marker, text)
    return looks


def svg_uri(draw: Callable[[Figure], None], size: tuple[float, float]) -> str:
    """A transparent picture as a ``data:`` address for the ``src`` of an image; the size is in inches."""
    svg = io.BytesIO()
    with _styled_figure(draw, size) as figure:
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.getvalue()).decode()}"


def save_picture(draw: Callable[[Figure], None], size: tuple[float, float], *paths: Path) -> None:
    """The picture on white in the formats that the paths end in, each file whole or not at all; 200 dots an inch."""
    with _styled_figure(draw, size) as figure:
        for path in paths:
            metadata = {"CreationDate": None} if path.suffix == ".pdf" else {}
            partial = path.with_name(path.name + ".partial")
            figure.savefig(partial, format=path.suffix[1:], dpi=200, facecolor=PAPER, metadata=metadata)
            partial.replace(path)


@contextmanager
def _styled_figure(draw: Callable[[Figure], None], size: tuple[float, float]) -> Iterator[Figure]:
    """The filled figure; the style applies until it is saved."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # browsers have a font for it
        figure = Figure(figsize=size)
        draw(figure)
        yield figure
