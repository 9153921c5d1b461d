import pytest

from winnow.tasks.word_windows import split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Paris, (Ann's) don't", ["Paris", ",", "(", "Ann", "'s", ")", "don't"]),
        ("the U.S., for $100.", ["the", "U.S.", ",", "for", "$", "100", "."]),
        ("Germany 's Anglo-Dutch ... --", ["Germany", "'s", "Anglo-Dutch", "...", "--"]),
        ("@ann: #paris!", ["@ann", ":", "#paris", "!"]),
        ("\u0926\u093f,", ["\u0926\u093f", ","]),  # a letter and its vowel sign
    ],
)
def test_punctuation_at_the_edges_of_words_is_split_and_every_word_has_its_place(text, words):
    found, places = split_words(text, split_punctuation=True)
    assert found == words
    assert [text[start:end] for start, end in places] == words


def test_without_it_a_text_is_split_at_blanks_alone():
    assert split_words(" Paris,  Ann's", split_punctuation=False) == (["Paris,", "Ann's"], [(1, 7), (9, 14)])


def test_a_list_of_words_stays_as_it_is():
    assert split_words(["Paris,", "a b"], split_punctuation=True) == (["Paris,", "a b"], [(0, 1), (1, 2)])
