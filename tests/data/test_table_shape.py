import io

import pytest

from winnow.data.delimited import csv_rows, tsv_rows
from winnow.errors import UserError


def csv(text, **options):
    options = {"header": True, "prefix": "task.data.", **options}
    return [cells for _, cells in csv_rows(io.StringIO(text, newline="\n"), "in.csv", **options)]


def tsv(text, **options):
    options = {"header": True, "prefix": "task.data.", **options}
    return [cells for _, cells in tsv_rows(io.StringIO(text, newline="\n"), "in.tsv", **options)]


def test_cells_are_parted_by_the_separator_of_the_setting():
    assert csv('text;label\n"a; b";1,5\n', separator=";") == [["text", "label"], ["a; b", "1,5"]]
    assert csv('text\tlabel\n"a\tb"\tpos\n', separator="\t") == [["text", "label"], ["a\tb", "pos"]]
    assert tsv('text|label\n"a|pos\n', separator="|") == [["text", "label"], ['"a', "pos"]]


def test_a_stray_quote_is_found_with_another_separator_too():
    with pytest.raises(UserError, match=r"in\.csv, line 3: a cell that begins here holds whole rows"):
        csv('text;label\ngood;pos\n"he said;neg\nhe said bye";pos\nbad;neg\n', separator=";")


@pytest.mark.parametrize(
    ("read", "header", "message"),
    [
        (
            csv,
            "text;label",
            """the header is the single cell 'text;label'; name the separator of the cells, """
            """"task.data.separator=';'", or ',' if there is one column.""",
        ),
        (csv, "text\tlabel", "the header is the single cell 'text\\tlabel'; name the separator"),
        (tsv, "text,label", "the header is the single cell 'text,label'; name the separator"),
        (csv, "sep=;", "'sep=;' is for Excel and no header; remove this line"),
        (csv, "sep=,", "'sep=' is for Excel and no header; remove this line"),
    ],
)
def test_a_header_in_one_cell_is_refused_with_its_separator(read, header, message):
    with pytest.raises(UserError) as error:
        read(f"{header}\na;b\n")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a;b\nc\n", {"separator": ","}),
        ('"a, b"\nc\n', {}),
        ("a;b\nc;d\n", {"header": False}),
    ],
)
def test_a_table_of_one_column_is_read(text, options):
    assert [len(cells) for cells in csv(text, **options)] == [1, 1]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(("read", "separator"), [(csv, ","), (tsv, "\t")])
def test_a_second_header_is_refused(read, separator, mark):
    text = "text,label\na,label\n@text,label\nb,pos\n".replace(",", separator).replace("@", mark)
    with pytest.raises(UserError, match=r", line 3 repeats the header.* set task\.data\.header=false"):
        read(text)


def test_rows_of_a_table_without_header_may_be_equal():
    assert csv("a,b\na,b\n", header=False) == [["a", "b"], ["a", "b"]]


def test_a_row_below_a_single_cell_is_refused_with_that_cell():
    with pytest.raises(UserError, match=r"in\.csv, line 2 has 2 cells, but the first row has the single cell '# mine'"):
        csv("# mine\ntext,label\n")
