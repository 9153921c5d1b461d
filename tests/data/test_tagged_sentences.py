import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.data.tagged_sentences import conll_sentences
from winnow.errors import UserError

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\f\v"), min_size=1, max_size=6).filter(
    lambda word: word == word.strip(" ") and not word.startswith("-DOCSTART-")
)
SENTENCES = st.lists(st.lists(st.tuples(WORDS, st.sampled_from(["O", "B-LOC", "I-LOC"])), min_size=1), min_size=1)


def read(text, comment=None):
    return [sentence for _, sentence in conll_sentences(io.StringIO(text, newline="\n"), "in.conll", comment, "")]


@given(SENTENCES, st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_sentences_with_tabs_are_read_back(sentences, last_blank_line, line_end):
    blocks = [line_end.join("\t".join(cells) for cells in sentence) for sentence in sentences]
    text = (2 * line_end).join(blocks) + line_end * (2 if last_blank_line else 0)
    assert read(text) == [[list(cells) for cells in sentence] for sentence in sentences]


def test_blanks_part_the_columns_of_a_line_without_tabs():
    assert read("EU  NNP I-NP B-ORG\nrejects VBZ I-VP O \n") == [
        [["EU", "NNP", "I-NP", "B-ORG"], ["rejects", "VBZ", "I-VP", "O"]]
    ]


def test_blanks_within_a_word_are_kept_where_tabs_part_the_columns():
    assert read("10 000\tB-NUM\nNew York\tB-LOC\n") == [[["10 000", "B-NUM"], ["New York", "B-LOC"]]]


@pytest.mark.parametrize("blank", ["\u00a0", "\u2028", "\u3000", "\x85", "\x1c"])
def test_other_blanks_are_characters_of_a_word(blank):
    assert read(f"10{blank}000 O\n{blank} O\n\nb O") == [[[f"10{blank}000", "O"], [blank, "O"]], [["b", "O"]]]


def test_documents_and_comments_are_no_words():
    text = "# a comment\n-DOCSTART- -X- -X- O\n\na O\n# b\nc O\n-DOCSTART-\n"
    assert read(text, comment="# ") == [[["a", "O"], ["c", "O"]]]


def test_a_document_ends_a_sentence():
    assert read("a O\n-DOCSTART- O\nb O\n") == [[["a", "O"]], [["b", "O"]]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1\tIn\tin\tADP\tIN\t_\t2\tcase\t_\t_\n",
            "in.conll, line 1: the first of ten columns is a number, as in CoNLL-U",
        ),
        ("a O\nNew York B-LOC\n", "in.conll, line 2 has 3 columns, but the lines before it have 2: 'New York B-LOC'"),
        ("a O\n\nb\n", "in.conll, line 3 has 1 column, but the lines before it have 2: 'b'"),
        ("a\tO\nNew York B-LOC\n", "in.conll, line 2 has 3 columns"),
        ("a\tO\nb\t\n", "in.conll, line 2: column 2 is empty"),
        ("\tO\n", "in.conll, line 1: column 1 is empty"),
    ],
)
def test_a_line_of_another_width_is_refused(text, message):
    with pytest.raises(UserError) as error:
        read(text)
    assert str(error.value).startswith(message)
