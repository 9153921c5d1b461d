"""Sentences of CoNLL files: on each line a word with its tags, after each sentence a blank line."""

import re
from collections.abc import Iterable, Iterator

from winnow.data.delimited import without_end
from winnow.errors import UserError
from winnow.text import truncated

_DOCUMENT = "-DOCSTART-"
_BLANKS = " \t\r\n\f\v"  # other blanks, such as U+00A0, are characters of a word
_COLUMNS_OF_CONLL_U = 10  # the first one has the numbers of the words
_RUN = re.compile(f"[{_BLANKS}]+")

Sentences = Iterator[tuple[int, list[list[str]]]]  # the line where a sentence begins, and the cells of its words


def conll_sentences(lines: Iterable[str], name: str, comment_prefix: str | None, prefix: str) -> Sentences:
    """The sentences of a file. Cells stand between tabs, in a line without tabs between runs of blanks.

    Args:
        lines: of the file, with their ends.
        name: of the file, for messages.
        comment_prefix: lines that begin with it are skipped.
        prefix: of the names of settings in messages.

    Raises:
        UserError: for a line with another number of cells than the first, for an empty cell, and for CoNLL-U.
    """
    sentence: list[list[str]] = []
    begin = width = 0
    for number, line in enumerate(lines, start=1):
        if comment_prefix is not None and line.startswith(comment_prefix):
            continue
        cells = _cells(line) if line.strip(_BLANKS) else []
        if not cells or cells[0] == _DOCUMENT:
            if sentence:
                yield begin, sentence
            sentence = []
            continue
        _check(cells, width, f"{name}, line {number}", prefix)
        width, begin = len(cells), begin if sentence else number
        sentence.append(cells)
    if sentence:
        yield begin, sentence


def _cells(line: str) -> list[str]:
    if "\t" in line:
        return [cell.strip(_BLANKS) for cell in without_end(line).split("\t")]
    return _RUN.split(line.strip(_BLANKS))


def _check(cells: list[str], width: int, where: str, prefix: str) -> None:
    if width and len(cells) != width:
        raise UserError(
            f"{where} has {len(cells)} {'column' if len(cells) == 1 else 'columns'}, but the lines before it have "
            f"{width}: '{truncated(' '.join(cells), 40)}'. Each line needs a word and its tag; a word with a blank "
            f"needs tabs between the columns, comments are named with {prefix}comment_prefix."
        )
    if not width and len(cells) == _COLUMNS_OF_CONLL_U and cells[0].isdecimal():
        raise UserError(
            f"{where}: the first of ten columns is a number, as in CoNLL-U; a word must be first and its tag last, as "
            "cut -f2,4 leaves them."
        )
    for i, cell in enumerate(cells):
        if not cell:
            raise UserError(
                f"{where}: column {i + 1} is empty; each line needs a word and its tag, O if it belongs to no entity."
            )
