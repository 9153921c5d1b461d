"""The embedded demo data for named entities: sentences in which the same names are persons, places and clubs.

Every name, of one word or two, occurs as each of the three types. Only the words around it decide the type, so a
look-up of single words scores badly.
"""

import random

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

NAMES = (
    *("austin", "brooklyn", "carlisle", "chelsea", "clifton", "dakota", "dallas", "darwin", "denver", "devon"),
    *("easton", "florence", "georgia", "hamilton", "houston", "jackson", "jordan", "lincoln", "logan", "london"),
    *("madison", "milan", "newton", "orlando", "paris", "preston", "sydney", "trenton", "victoria", "weston"),
)
TYPES = ("person", "place", "club")
# Braces are replaced by a name of one or two words. The words that decide its type are before it, after it or far away.
SENTENCES = (
    "{person} said that {club} would beat {club}",
    "{person} said that {place} would be cold in may",
    "{person} left {place} by train",
    "{person} left {club} after the match",
    "{club} left {person} on the bench",
    "{club} left {place} with a draw",
    "the road to {place} was long",
    "the letter to {person} was long",
    "the defeat to {club} was hard",
    "in {place} , {club} played a draw",
    "in {place} , {person} wrote a letter",
    "with {person} , {club} scored in may",
    "{place} was cold and the road was long",
    "{person} was cold and wrote a letter",
    "{club} was beaten and left by train",
    "the coach of {club} met {person} in {place}",
    "the mayor of {place} met {person} and {person}",
    "the brother of {person} lives near {place}",
    "the match between {club} and {club} was long",
    "the train between {place} and {place} was cold",
    "the talk between {person} and {person} was hard",
    "{place} lies on the road to {place}",
    "{person} plays for {club}",
    "{club} plays in {place}",
)
_TAGS = ["O", *(f"{prefix}-{kind}" for kind in TYPES for prefix in "BI")]


def tagged_sentences(train: int = 6000, held_out: int = 500, seed: int = 0) -> DatasetDict:
    """Sentences as lists of words and tags, all different: train, and validation and test of ``held_out`` rows each."""
    rng = random.Random(seed)
    rows: dict[tuple[str, ...], list[str]] = {}
    while len(rows) < train + 2 * held_out:
        words, tags = _sentence(rng)
        rows[tuple(words)] = tags
    items = list(rows.items())
    parts = {"train": items[2 * held_out :], "validation": items[:held_out], "test": items[held_out : 2 * held_out]}
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=_TAGS))})
    return DatasetDict(
        {
            name: Dataset.from_dict(
                {
                    "tokens": [list(words) for words, _ in part],
                    "ner_tags": [[_TAGS.index(tag) for tag in tags] for _, tags in part],
                },
                features=features,
            )
            for name, part in parts.items()
        }
    )


def vocabulary() -> list[str]:
    """Every word of the sentences."""
    words = {word for sentence in SENTENCES for word in sentence.split() if not word.startswith("{")}
    return sorted({*words, *NAMES})


def _sentence(rng: random.Random) -> tuple[list[str], list[str]]:
    words, tags = [], []
    for word in rng.choice(SENTENCES).split():
        kind = word.strip("{}")
        if kind not in TYPES or kind == word:
            words.append(word)
            tags.append("O")
            continue
        names = rng.sample(NAMES, rng.choice((1, 1, 2)))
        words += names
        tags += [f"{'I' if i else 'B'}-{kind}" for i in range(len(names))]
    return words, tags
