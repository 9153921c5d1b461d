import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.data.delimited import csv_rows, tsv_rows
from winnow.errors import UserError

CELLS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    [
        "007",
        "1e3",
        "3.10",
        "true",
        "2020-01-01",
        "NA",
        "None",
        "null",
        " a ",
        '"',
        '""',
        ",",
        "\n",
        "\r\n",
        "a\rb",
        "'",
        "",
    ]
)


def rows_of(text, *, header=True, name="in.csv"):
    return list(csv_rows(io.StringIO(text, newline="\n"), name, header=header))


def refused(text, **options):
    with pytest.raises(UserError) as error:
        rows_of(text, **options)
    return str(error.value)


@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=5),
    st.sampled_from([{"lineterminator": "\r\n"}, {"lineterminator": "\n", "quoting": csv.QUOTE_ALL}]),
)
def test_what_a_csv_writer_writes_is_read_back(rows, options):
    file = io.StringIO(newline="")
    csv.writer(file, **options).writerows(rows)
    assert [cells for _, cells in rows_of(file.getvalue(), header=False)] == rows


def test_a_row_is_known_by_the_line_where_it_begins():
    assert rows_of('text,id\r\n"a, ""b""\nc",1\r\n\r\nd,2\r\n') == [
        (1, ["text", "id"]),
        (2, ['a, "b"\nc', "1"]),
        (5, ["d", "2"]),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2,\n", "in.csv, line 2 has 3 cells, but there are 2 columns; correct the row"),
        ("a,b\n1,2\n1\n", "in.csv, line 3 has 1 cell, but there are 2 columns"),
        ("a,b,\n1,2,3\n", "in.csv, line 1: column 3 of the header has no name"),
        (",a\n0,b\n", "in.csv, line 1: column 1 of the header has no name; name it, or leave it out (pandas writes"),
        ("a,b,a\n1,2,3\n", "in.csv, line 1: two columns of the header are named 'a'"),
        ('a,b\n1,2\n"x,1\ny,2\n', "in.csv, line 3: the row that begins here cannot be read (its quote is not closed"),
        (
            'a,b\n"x" y,2\n',
            "in.csv, line 2: the row that begins here cannot be read (in line 2 a closing quote is followed",
        ),
        (
            'a,b\n"good film,p\nthe "best" one,n\n',
            "in.csv, line 2: the row that begins here cannot be read (in line 3 a",
        ),
        ("a,b\nx\ry,1\n", "in.csv, line 2: the row that begins here cannot be read (line 2 has a carriage return"),
    ],
)
def test_a_row_that_would_be_guessed_is_refused_with_its_line(text, message):
    assert refused(text).startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        'text,label\ngood,pos\n"he said hello,neg\nhe said bye",pos\nbad,neg\n',
        'text,label\n"he said hello,pos\nfine,neg\nhe said bye",pos\nworse,neg\n',
        'label,text\npos,good\npos,"he said hello\nneg,he said bye"\nneg,bad\n',
    ],
)
def test_rows_that_two_stray_quotes_join_to_a_cell_are_refused(text):
    assert "a cell that begins here holds whole rows" in refused(text)


@pytest.mark.parametrize(
    "text",
    [
        'text,label\n"first line, with a comma\nsecond line",pos\nfine,neg\n',
        'text,label\n"one, two\nthree, four\nfive",pos\n"six, seven\neight",neg\n',
        'text\n"a, b\nc"\nc\n',
    ],
)
def test_a_text_of_several_lines_with_commas_is_a_cell(text):
    assert sum("\n" in cells[0] for _, cells in rows_of(text)) >= 1


def test_a_quote_mark_in_a_tsv_file_is_a_character():
    text = 'question\tlabel\n"Who\t1\nwas" it?\t0\n\n"a"\t1\n'
    rows = list(tsv_rows(io.StringIO(text), "in.tsv", header=True))
    assert rows == [(1, ["question", "label"]), (2, ['"Who', "1"]), (3, ['was" it?', "0"]), (5, ['"a"', "1"])]


def test_a_tsv_row_of_another_width_is_refused():
    with pytest.raises(UserError, match=r"in\.tsv, line 2 has 3 cells, but there are 2 columns"):
        list(tsv_rows(io.StringIO("a\tb\n1\t2\t3\n"), "in.tsv", header=True))


@pytest.mark.parametrize("rows", [csv_rows, tsv_rows])
def test_a_blank_line_of_a_file_with_one_column_is_an_empty_cell(rows):
    assert list(rows(io.StringIO("a\n\nb\n"), "in", header=True))[1:] == [(2, [""]), (3, ["b"])]


def test_a_row_with_a_single_empty_cell_in_quotes_is_no_blank_line():
    assert refused('a,b\n1,2\n""\n').startswith("in.csv, line 3 has 1 cell, but there are 2 columns")
