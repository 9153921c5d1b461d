import base64
import xml.etree.ElementTree as ET

from winnow.reports.plot_style import INK, save_picture, svg_uri, teacher_looks


def draw(figure):
    ax = figure.subplots()
    ax.plot([1, 2], [3, 4], color=teacher_looks(["none"])["none"].colour, marker="o")
    ax.text(1, 3, "a <b> & $x$ 0.000025", color=INK)


def svg_of(uri):
    return base64.b64decode(uri.removeprefix("data:image/svg+xml;base64,")).decode()


def test_a_picture_in_a_page_is_whole_and_transparent_and_its_text_is_text():
    svg = svg_of(svg_uri(draw, (4, 3)))
    assert "a <b> & $x$ 0.000025" in "".join(ET.fromstring(svg).itertext())
    assert "fill: #ffffff" not in svg


def test_the_same_figures_make_the_same_picture(tmp_path):
    assert svg_uri(draw, (4, 3)) == svg_uri(draw, (4, 3))
    for name in ("a.pdf", "b.pdf"):
        save_picture(draw, (4, 3), tmp_path / name)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_a_file_has_twice_the_pixels_of_a_screen(tmp_path):
    save_picture(draw, (4, 3), tmp_path / "a.png")
    head = (tmp_path / "a.png").read_bytes()[16:24]
    assert (int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")) == (800, 600)


def test_no_two_teachers_look_alike():
    looks = teacher_looks(f"teacher{i}" for i in range(12))
    assert len({(look.colour, look.marker) for look in looks.values()}) == 13  # with that of no teacher
