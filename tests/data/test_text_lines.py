import codecs
import gzip
import io

import pytest

from winnow.data.text_lines import text_lines
from winnow.errors import UserError


def lines(content, encoding=None, *, quoted=False):
    return list(text_lines(io.BufferedReader(io.BytesIO(content)), "in.csv", encoding, "task.data.", quoted=quoted))


@pytest.mark.parametrize(
    "content",
    [
        "a\nä\n".encode(),
        codecs.BOM_UTF8 + "a\nä\n".encode(),
        "a\nä\n".encode("utf-16"),
        codecs.BOM_UTF16_BE + "a\nä\n".encode("utf-16-be"),
        "a\nä\n".encode("utf-32"),
    ],
)
def test_a_byte_order_mark_names_the_encoding_and_is_no_text(content):
    assert lines(content) == ["a\n", "ä\n"]


def test_another_encoding_is_read_if_it_is_named():
    assert lines("é\n".encode("latin-1"), "latin-1") == ["é\n"]
    assert lines("é\n".encode("utf-16-le"), "utf-16-le") == ["é\n"]


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (
            b"a\ncaf\xe9\n",
            None,
            "in.csv, line 2 is not UTF-8; name the encoding of the file, such as task.data.encoding=",
        ),
        (b"a\ncaf\xe9\n", "ascii", "in.csv, line 2 is not ascii; name"),
        ("a\nb\n".encode("utf-16-le"), None, "in.csv has zero bytes, as UTF-16 without a byte order mark has"),
        ("ab".encode("utf-16")[:-1], None, "in.csv, line 1 is not utf-16"),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_the_setting(content, encoding, message):
    with pytest.raises(UserError) as error:
        lines(content, encoding)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"text,label", mtime=0), "in.csv is compressed with gzip; unpack it."),
        (b"PK\x03\x04\x14\x00" + bytes(30), "in.csv is a zip archive, as .xlsx files are; save its table as CSV"),
        (b"PAR1\x15\x04", "in.csv is a Parquet file; name it .parquet."),
    ],
)
def test_a_file_of_another_format_is_named(content, message):
    with pytest.raises(UserError) as error:
        lines(content, "latin-1")
    assert str(error.value).startswith(message)


def test_a_single_zero_byte_is_a_character():
    assert lines(b"a file of some text\nwith a \0 in it\n") == ["a file of some text\n", "with a \0 in it\n"]


def test_utf_8_is_not_read_in_the_encoding_of_other_files():
    with pytest.raises(UserError, match=r"in\.csv is UTF-8, so task\.data\.encoding=latin-1 would change"):
        lines("a\nö\n".encode(), "latin-1")
    assert lines("ö, but no UTF-8\n".encode("latin-1") + "ö\n".encode(), "latin-1")[1] == "Ã¶\n"
    assert lines(b"ascii\n", "latin-1") == ["ascii\n"]
    assert lines("ö\n".encode(), "utf-8") == ["ö\n"]


def test_only_line_feeds_end_a_line():
    assert lines("a\u2028b\x0b\x0c\x85\u00a0\r\nc\rd\n".encode()) == ["a\u2028b\x0b\x0c\x85\u00a0\r\n", "c\rd\n"]


def test_carriage_returns_end_the_lines_of_a_file_without_line_feeds():
    assert lines(b"text,id\ra,1\rb,2") == ["text,id\r", "a,1\r", "b,2"]
    assert lines(b'text,id\r"a\nb",1\r', quoted=True) == ["text,id\r", '"a\nb",1\r']


def test_the_stream_stays_open():
    stream = io.BufferedReader(io.BytesIO(b"a\n"))
    list(text_lines(stream, "-", None, "", quoted=False))
    assert not stream.closed
