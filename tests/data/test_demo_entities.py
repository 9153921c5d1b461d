from collections import Counter, defaultdict

import pytest
from seqeval.metrics import f1_score

from winnow.data.demo_entities import NAMES, tagged_sentences, vocabulary
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.functional.entities import entities


@pytest.fixture(scope="module")
def demo():
    return tagged_sentences()


def names_of(split):
    feature = split.features["ner_tags"].feature
    return [[feature.int2str(tag) for tag in tags] for tags in split["ner_tags"]]


def looked_up(demo, seen_by_a_word):
    """For each test word the most frequent training tag of what ``seen_by_a_word`` returns for it."""
    counts = defaultdict(Counter)
    for words, tags in zip(demo["train"]["tokens"], names_of(demo["train"]), strict=True):
        for i, tag in enumerate(tags):
            counts[seen_by_a_word(words, i)][tag] += 1
    best = {seen: tags.most_common(1)[0][0] for seen, tags in counts.items()}
    return [[best.get(seen_by_a_word(words, i), "O") for i in range(len(words))] for words in demo["test"]["tokens"]]


def test_the_demo_has_6000_training_sentences_and_500_to_validate_and_test(demo):
    assert {name: len(split) for name, split in demo.items()} == {"train": 6000, "validation": 500, "test": 500}
    kinds = ("person", "place", "club")
    assert demo["test"].features["ner_tags"].feature.names == ["O", *(f"{p}-{k}" for k in kinds for p in "BI")]


def test_a_look_up_of_single_words_fails(demo):
    assert f1_score(names_of(demo["test"]), looked_up(demo, lambda words, i: words[i])) < 0.3


def test_a_look_up_with_the_words_beside_is_not_enough(demo):
    def name(words, i):
        word = words[i] if 0 <= i < len(words) else ""
        return "a name" if word in NAMES else word

    seen = looked_up(demo, lambda words, i: tuple(name(words, i + d) for d in (-1, 0, 1)))
    assert f1_score(names_of(demo["test"]), seen) < 0.7


def test_every_name_is_an_entity_of_each_type(demo):
    kinds = defaultdict(set)
    for words, tags in zip(demo["train"]["tokens"], names_of(demo["train"]), strict=True):
        for kind, start, end in entities(tags):
            assert set(words[start : end + 1]) <= set(NAMES)
            for word in words[start : end + 1]:
                kinds[word].add(kind)
    assert kinds == {name: {"person", "place", "club"} for name in NAMES}


def test_there_are_entities_of_one_word_and_of_two(demo):
    lengths = Counter(end - start + 1 for tags in names_of(demo["train"]) for _, start, end in entities(tags))
    assert set(lengths) == {1, 2}
    assert min(lengths.values()) > 2000


def test_no_sentence_is_in_two_splits_or_twice_in_one(demo):
    sentences = [tuple(words) for split in demo.values() for words in split["tokens"]]
    assert len(set(sentences)) == len(sentences)


def test_the_sentences_are_the_same_each_time():
    first, second = tagged_sentences(train=50, held_out=5), tagged_sentences(train=50, held_out=5)
    assert all(first[name].to_dict() == second[name].to_dict() for name in first)
    assert tagged_sentences(train=50, held_out=5, seed=1)["train"]["tokens"] != first["train"]["tokens"]


def test_the_embedded_tokenizer_knows_every_word_as_one_token(demo):
    tokenizer, words = tiny_tokenizer(), vocabulary()
    assert [len(tokenizer(word, add_special_tokens=False)["input_ids"]) for word in words] == [1] * len(words)
    assert {word for split in demo.values() for sentence in split["tokens"] for word in sentence} == set(words)
