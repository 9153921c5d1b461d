"""Lines of text from bytes: the encoding, the byte order mark and the end of a line."""

import codecs
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from winnow.errors import UserError

BUFFER = 1 << 20  # bytes that are looked at to find the end of a line
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}  # the marks of UTF-32 begin like those of UTF-16, so they come first
_NO_TEXT = {
    b"PK\x03\x04": "a zip archive, as .xlsx files are; save its table as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "a file of an office program; save its table as CSV",
    b"\x1f\x8b": "compressed with gzip; unpack it",
    b"PAR1\x15": "a Parquet file; name it .parquet",
}  # first bytes of files with a wrong suffix
_ZERO_BYTES = 0.05  # part of the bytes; below it a zero byte is a character of a text
_QUOTED = re.compile(r'"(?:[^"]|"")*(?:"|$)')
_UNDECODED = re.compile("[\udc80-\udcff]")  # bytes that are not text, as surrogateescape shows them


def text_lines(stream: BinaryIO, name: str, encoding: str | None, prefix: str, *, quoted: bool) -> Iterator[str]:
    """The lines of a file with their ends, read as they arrive.

    A line ends with a line feed, alone or after a carriage return. In a file without line feeds it ends with a carriage
    return.

    Args:
        stream: buffered, with ``peek``.
        name: of the file, for messages.
        encoding: None means UTF-8, or UTF-16 or UTF-32 if the file begins with their byte order mark.
        prefix: of the name of the setting in messages.
        quoted: line ends between double quotes belong to a cell.

    Raises:
        UserError: for a file that is no text, and for a line that is no text in this encoding.
    """
    head = stream.peek(BUFFER)[:BUFFER]  # type: ignore[attr-defined]  # a BufferedReader
    chosen = next((known for mark, known in _MARKS.items() if head.startswith(mark)), encoding or "utf-8")
    _check_head(head, name, encoding, chosen, prefix)
    text = io.TextIOWrapper(
        stream, encoding=chosen, errors="surrogateescape", newline=_line_end(head.decode(chosen, "replace"), quoted)
    )
    number = 0
    try:
        for number, line in enumerate(text, start=1):
            if not line.isascii() and _UNDECODED.search(line):
                raise UserError(_not_text(f"{name}, line {number}", chosen, prefix))
            yield line
    except UnicodeError as error:
        raise UserError(_not_text(f"{name}, line {number + 1}", chosen, prefix)) from error
    finally:
        if not text.closed:
            text.detach()  # the stream belongs to the caller


def _check_head(head: bytes, name: str, encoding: str | None, chosen: str, prefix: str) -> None:
    """Refuse the first bytes of a file that is no text, or text in another encoding than the chosen one."""
    for mark, kind in _NO_TEXT.items():
        if head.startswith(mark):
            raise UserError(f"{name} is {kind}.")
    if chosen == "utf-8" and head[:1000].count(0) > _ZERO_BYTES * len(head[:1000]):
        raise UserError(
            f"{name} has zero bytes, as UTF-16 without a byte order mark has; name its encoding, such as "
            f"{prefix}encoding=utf-16-le."
        )
    if encoding is not None and not codecs.lookup(chosen).name.startswith("utf") and _is_utf_8(head):
        raise UserError(
            f"{name} is UTF-8, so {prefix}encoding={encoding} would change its characters; leave this setting out, or "
            "bring all files into one encoding."
        )


def _is_utf_8(head: bytes) -> bool:
    """True for UTF-8 with characters outside of ASCII; the last one may be cut."""
    try:
        return not codecs.getincrementaldecoder("utf-8")().decode(head).isascii()
    except UnicodeDecodeError:
        return False


def _line_end(head: str, quoted: bool) -> str:
    if quoted:
        head = _QUOTED.sub("", head)
    return "\r" if "\r" in head and "\n" not in head else "\n"


def _not_text(where: str, encoding: str, prefix: str) -> str:
    shown = "UTF-8" if encoding.startswith("utf-8") else encoding
    return (
        f"{where} is not {shown}; name the encoding of the file, such as {prefix}encoding=latin-1 or cp1252, or "
        "convert it."
    )
