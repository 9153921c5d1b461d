"""One look for all pictures of a report: in a page they take its colours, light or dark; files are on white."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

INK, MUTED, RULE, PAPER = "#1b1f24", "#59636e", "#d8dee4", "#ffffff"
# Series: told apart by people who do not see all colours, each at least 4.5 times as dark as white.
SERIES = ("#a8470a", "#0864ab", "#0a7052", "#8f3d78", "#6b5900")
MARKERS = ("s", "o", "^", "D", "v")
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    PAPER: "--paper",
    **{colour: f"--series-{i}" for i, colour in enumerate(SERIES, 1)},
}
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a dollar
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.5,
    "lines.markersize": 6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "svg.fonttype": "none",  # text stays text, in the font of the page
    "pdf.fonttype": 42,
}


def inline_svg(draw: Callable[[Any], None], size: tuple[float, float], alt: str) -> str:
    """A picture to stand within a page.

    Args:
        draw: puts it on an empty matplotlib figure.
        size: inches; an inch is 72 units of the picture, which grows and shrinks with the page.
        alt: what it shows, for those who do not see it.
    """
    text = io.StringIO()
    with _drawn(draw, size, salt=alt) as figure:
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in every picture of a page
    svg = re.sub(r"; font-family: [^;\"]*|<style.*?</style>| transform=\"rotate\(-0 [^\"]*\"", "", svg)
    svg = re.sub("|".join(_VARIABLES), lambda found: f"var({_VARIABLES[found[0]]})", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    svg = re.sub(r' clip-path="[^"]*"|<clipPath.*?</clipPath>', "", svg, flags=re.DOTALL)  # nothing lies outside
    svg = re.sub(r"</?g/?>|<defs>\s*</defs>", "", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d{4}\b", r"\1", tag[0]), svg)  # no number of a word
    opening = f'<svg {box[0] if box else ""} role="img" aria-label="{escape(alt)}">'
    return opening + svg[svg.index(">") + 1 :].strip()


def save_picture(draw: Callable[[Any], None], size: tuple[float, float], *paths: Path) -> None:
    """The same as files on white, of the kinds that their names say; twice the pixels of a screen."""
    with _drawn(draw, size, salt="") as figure:
        for path in paths:
            undated = {"CreationDate": None} if path.suffix == ".pdf" else {}
            partial = path.with_name(path.name + ".partial")
            figure.savefig(partial, format=path.suffix[1:], dpi=200, facecolor=PAPER, metadata=undated)
            partial.replace(path)


@contextmanager
def _drawn(draw: Callable[[Any], None], size: tuple[float, float], salt: str) -> Iterator[Any]:
    """A figure, and our style as long as it is saved."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has a font for it
        figure = Figure(figsize=size)
        draw(figure)
        yield figure
