import xml.etree.ElementTree as ET

from winnow.reports.figures import INK, SERIES, inline_svg, save_picture


def draw(figure):
    ax = figure.add_axes((0.2, 0.2, 0.7, 0.7))
    ax.plot([1, 2], [3, 4], color=SERIES[0], marker="o")
    ax.text(1, 3, "a <b> & $x$ 0.000025", color=INK)


def test_a_picture_takes_the_colours_of_its_page():
    svg = inline_svg(draw, (4, 3), "one line")
    assert "var(--series-1)" in svg
    assert "var(--ink)" in svg
    assert not any(colour in svg for colour in (INK, *SERIES))


def test_a_picture_is_whole_and_its_text_is_text():
    root = ET.fromstring(inline_svg(draw, (4, 3), 'what "it" shows').replace("xlink:", ""))
    assert root.get("aria-label") == 'what "it" shows'
    assert "a <b> & $x$ 0.000025" in "".join(root.itertext())


def test_the_same_figures_make_the_same_picture(tmp_path):
    assert inline_svg(draw, (4, 3), "x") == inline_svg(draw, (4, 3), "x")
    for name in ("a.pdf", "b.pdf"):
        save_picture(draw, (4, 3), tmp_path / name)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_a_file_has_twice_the_pixels_of_a_screen(tmp_path):
    save_picture(draw, (4, 3), tmp_path / "a.png")
    head = (tmp_path / "a.png").read_bytes()[16:24]
    assert (int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")) == (800, 600)
