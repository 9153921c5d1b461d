"""Saved tokenizers give the tokens of transformers, for each family of models."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoTokenizer,
    BertTokenizer,
    DistilBertTokenizer,
    ElectraTokenizer,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

from winnow.deployment.tokenizer import SavedTokenizer

TEXTS = [
    "The plot was good, but the cast wasn't!",
    "  naïve CAFÉ\tin Zürich\u200b\n— 東京 🙂 [SEP] </s> <mask>",
    "",
    "a " * 40,
]
SHORT = ["who?", "what is this: a plot", "b", "c c c c c c c c c c c c"]
WORDS = [text.split() or ["a"] for text in TEXTS]
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def word_pieces(kind):
    letters = sorted({letter for text in TEXTS for letter in text if not letter.isspace()} | set("acefinuz"))
    return kind(
        {piece: i for i, piece in enumerate([*_SPECIAL, "the", "plot", *letters, *("##" + c for c in letters)])}
    )


def byte_pairs(**settings):
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXTS * 3, vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    model = json.loads(trained.to_str())["model"]
    return RobertaTokenizer(model["vocab"], [tuple(pair) for pair in model["merges"]], **settings)


def unigrams():
    pieces = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "▁",
        "▁the",
        "▁plot",
        *sorted({c for text in TEXTS for c in text.strip()}),
    ]
    return XLMRobertaTokenizer([(piece, -float(i)) for i, piece in enumerate([*dict.fromkeys(pieces), "<mask>"])])


TOKENIZERS = {
    "bert": lambda: word_pieces(BertTokenizer),
    "distilbert": lambda: word_pieces(DistilBertTokenizer),
    "electra": lambda: word_pieces(ElectraTokenizer),
    "roberta": byte_pairs,
    "roberta for words": lambda: byte_pairs(add_prefix_space=True),
    "xlm-roberta": unigrams,
}
CUT = {"truncation": True, "max_length": 16}
CALLS = {
    "texts": ((TEXTS,), CUT),
    "pairs": ((TEXTS, SHORT), CUT),
    "windows": ((TEXTS,), {**CUT, "stride": 4, "return_overflowing_tokens": True}),
    "whole questions": ((SHORT,), {"add_special_tokens": False, "return_offsets_mapping": True}),
    "contexts": (
        (SHORT, TEXTS),
        {
            **{"truncation": "only_second", "max_length": 48, "stride": 4},
            **{"return_overflowing_tokens": True, "return_offsets_mapping": True},
        },
    ),
    "words": ((WORDS,), {**CUT, "is_split_into_words": True, "return_overflowing_tokens": True}),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def both(request, tmp_path_factory):
    """A saved tokenizer as transformers opens it, and without transformers."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = TOKENIZERS[request.param]()
    tokenizer(["a b c"], truncation=True, padding=True, max_length=4)  # is saved with this truncation and padding
    tokenizer.model_max_length = 50
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "bert", "max_position_embeddings": 64}')
    return request.param, AutoTokenizer.from_pretrained(folder), SavedTokenizer(folder)


@pytest.mark.parametrize("call", CALLS)
def test_tokens_and_windows_equal_those_of_transformers(both, call):
    name, reference, saved = both
    arguments, options = CALLS[call]
    if call == "words" and name == "roberta":
        pytest.skip("this tokenizer of transformers takes no words")
    expected, found = reference(*arguments, **options), saved(*arguments, **options)
    assert {column: found[column] for column in expected} == dict(expected)
    for i, (one, other) in enumerate(zip(expected.encodings, found.encodings, strict=True)):
        assert one.word_ids == other.word_ids
        assert bool(one.overflowing) == bool(other.overflowing)
        assert expected.sequence_ids(i) == found.sequence_ids(i)


def test_lengths_and_padding_equal_those_of_transformers(both):
    _, reference, saved = both
    for name in ("model_max_length", "pad_token_id", "pad_token_type_id", "is_fast"):
        assert getattr(saved, name) == getattr(reference, name)
    for pair in (False, True):
        assert saved.num_special_tokens_to_add(pair) == reference.num_special_tokens_to_add(pair)


def test_threads_with_other_truncation_do_not_disturb_each_other(both):
    saved = both[2]

    def lengths(max_length):
        return {max(map(len, saved([TEXTS[3]] * 50, truncation=True, max_length=max_length)["input_ids"]))}

    wanted = [8, 16] * 10
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lengths, wanted)) == [{length} for length in wanted]
