import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from winnow.data.demo import AMBIGUOUS, NEGATIVE, POSITIVE, reviews, vocabulary
from winnow.data.tiny_tokenizer import tiny_tokenizer


@pytest.fixture(scope="module")
def demo():
    return reviews()


def test_the_demo_has_24000_training_reviews_and_1000_to_validate_and_test(demo):
    assert {name: len(split) for name, split in demo.items()} == {"train": 24000, "validation": 1000, "test": 1000}
    assert demo["train"].features["label"].names == ["negative", "positive"]


def test_a_bag_of_words_is_near_chance(demo):
    words = CountVectorizer(token_pattern=r"\S+", binary=False)
    train = words.fit_transform(demo["train"]["text"])
    model = LogisticRegression(max_iter=200).fit(train, demo["train"]["label"])
    for split in ("validation", "test"):
        assert model.score(words.transform(demo[split]["text"]), demo[split]["label"]) <= 0.6


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_both_labels_are_equally_frequent(demo, split):
    labels = demo[split]["label"]
    assert sum(labels) / len(labels) == pytest.approx(0.5, abs=0.04)


def test_no_text_is_in_two_splits_or_twice_in_one(demo):
    texts = [text for split in demo.values() for text in split["text"]]
    assert len(set(texts)) == len(texts)


def test_the_reviews_are_the_same_each_time():
    first, second = reviews(train=50, held_out=5), reviews(train=50, held_out=5)
    assert all(first[name].to_dict() == second[name].to_dict() for name in first)
    assert reviews(train=50, held_out=5, seed=1)["train"]["text"] != first["train"]["text"]


def test_the_stressed_clause_decides_and_an_ambiguous_adjective_always_means_the_same_of_a_subject(demo):
    meanings = {}
    for split in demo.values():
        for text, label in zip(split["text"], split["label"], strict=True):
            _, subject, _, *between, adjective = stressed_clause(text).split()
            praised = bool(label) != ("not" in between)
            if adjective in AMBIGUOUS:
                assert meanings.setdefault((subject, adjective), praised) == praised, text
            else:
                assert adjective in (POSITIVE if praised else NEGATIVE), text
    for adjective in AMBIGUOUS:
        assert {meanings[pair] for pair in meanings if pair[1] == adjective} == {True, False}


def stressed_clause(text):
    if " but " in text:
        return text.split(" but ")[1]
    if text.startswith("although "):
        return text.split(" , ")[1]
    return text.split(" although ")[0]


def test_the_embedded_tokenizer_knows_every_word_of_the_demo_as_one_token(demo):
    tokenizer = tiny_tokenizer()
    words = vocabulary()
    assert [len(tokenizer(word, add_special_tokens=False)["input_ids"]) for word in words] == [1] * len(words)
    text = demo["train"]["text"][0]
    assert len(tokenizer(text)["input_ids"]) == len(text.split()) + 2


def test_the_embedded_tokenizer_spells_words_that_it_does_not_know():
    tokenizer = tiny_tokenizer()
    assert tokenizer.unk_token_id not in tokenizer("What's up, zebra? 42!")["input_ids"]
    assert tokenizer.decode(tokenizer("zebra")["input_ids"], skip_special_tokens=True) == "zebra"


def test_the_embedded_tokenizer_joins_a_pair_with_separators():
    tokenizer = tiny_tokenizer()
    encoded = tokenizer("good", "bad")
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["[CLS]", "good", "[SEP]", "bad", "[SEP]"]
    assert encoded["token_type_ids"] == [0, 0, 0, 1, 1]
