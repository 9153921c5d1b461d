import itertools

from matplotlib.figure import Figure

from winnow.reports.point_labels import PointLabel, place_labels


def placed(points, size=(4, 3)):
    ax = Figure(figsize=size).add_axes((0.1, 0.1, 0.8, 0.8))
    ax.set(xlim=(0, 10), ylim=(0, 10))
    place_labels(ax, [PointLabel(x, y, f"prune{i}", "#000000") for i, (x, y) in enumerate(points)])
    return [text.get_window_extent() for text in ax.texts]


def test_words_of_near_points_do_not_lie_on_one_another():
    boxes = placed([(5, 5), (5.3, 5.2), (4.8, 5.1), (5.1, 4.6)])
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_a_word_at_the_edge_stays_within_the_picture():
    (box,) = placed([(9.9, 9.9)])
    assert box.x1 <= 0.9 * 400 + 1


def test_where_there_is_no_room_a_word_is_left_out():
    boxes = placed([(5, 5)] * 40)
    assert 0 < len(boxes) < 40
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
