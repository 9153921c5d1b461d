from tests.reports.runs import lines, put
from winnow.reports.series import looks


def test_no_two_teachers_look_alike(tmp_path):
    for i in range(12):
        put(tmp_path / f"{i}", teacher=f"teacher{i}")
    found = looks(list(lines(tmp_path).values()))
    assert len({(look.colour, look.marker) for look in found.values()}) == 12
