"""The embedded demo data: short reviews whose sentiment depends on negation, word order and knowledge of the subject.

Every review of two clauses has a mirror: the same words in another order with the other label. Half of all adjectives
are negated. So a bag of words is at chance. Some adjectives praise one subject and blame another, which must be learnt
for each pair from few reviews.
"""

import random

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

SUBJECTS = (
    *("acting", "plot", "music", "ending", "script", "story", "cast", "dialogue", "pacing", "humour"),
    *("opening", "camera", "direction", "sound", "premise", "villain", "hero", "romance", "chase", "finale"),
)
POSITIVE = (
    *("good", "great", "fine", "superb", "clever", "moving", "funny", "gripping"),
    *("fresh", "charming", "brilliant", "tender", "lively", "honest", "elegant", "smart"),
)
NEGATIVE = (
    *("bad", "awful", "dull", "weak", "silly", "boring", "clumsy", "stale"),
    *("tired", "ugly", "hollow", "lazy", "messy", "bland", "grim", "flat"),
)
AMBIGUOUS = (
    *("dark", "slow", "quiet", "loud", "strange", "simple", "long", "short"),
    *("old", "wild", "cold", "raw", "sharp", "soft", "heavy", "light"),
)
INTENSIFIERS = ["", "", "very", "really", "rather"]
_LABELS = ["negative", "positive"]
_AMBIGUOUS_SHARE = 0.12  # of all clauses; with a quarter a tiny model learns nothing from random weights


def _praise() -> set[tuple[str, str]]:
    """The subjects with the ambiguous adjectives that praise them, half of all pairs."""
    rng = random.Random(0)
    return {(subject, each) for subject in SUBJECTS for each in AMBIGUOUS if rng.random() < 0.5}


_PRAISE = _praise()


def reviews(train: int = 24000, held_out: int = 1000, seed: int = 0) -> DatasetDict:
    """Labelled reviews: train, and validation and test of ``held_out`` rows each; no text is in two splits.

    One review in four is a single clause ("the plot was not dull": positive). The others join two clauses of opposite
    sentiment, and the stressed one decides: "X but Y" and "although X , Y" mean Y, "X although Y" means X.
    """
    rng = random.Random(seed)
    rows: dict[str, int] = {}
    while len(rows) < train + 2 * held_out:
        rows.update(_review_and_mirror(rng))
    items = list(rows.items())[: train + 2 * held_out]
    rng.shuffle(items)
    features = Features({"text": Value("string"), "label": ClassLabel(names=_LABELS)})
    parts = {"train": items[2 * held_out :], "validation": items[:held_out], "test": items[held_out : 2 * held_out]}
    return DatasetDict(
        {
            name: Dataset.from_dict({"text": [t for t, _ in part], "label": [y for _, y in part]}, features=features)
            for name, part in parts.items()
        }
    )


def vocabulary() -> list[str]:
    """Every word of the reviews."""
    adjectives = {*POSITIVE, *NEGATIVE, *AMBIGUOUS}
    return sorted({*SUBJECTS, *adjectives, *filter(None, INTENSIFIERS), "the", "was", "not", "but", "although", ","})


def _clause(rng: random.Random, label: int) -> str:
    negated = rng.random() < 0.5
    subject, praised = rng.choice(SUBJECTS), label != negated
    if rng.random() < _AMBIGUOUS_SHARE:
        adjective = rng.choice([each for each in AMBIGUOUS if ((subject, each) in _PRAISE) == praised])
    else:
        adjective = rng.choice(POSITIVE if praised else NEGATIVE)
    intensifier = rng.choice(INTENSIFIERS[:-1] if negated else INTENSIFIERS)  # "not rather good" is not English
    words = ["the", subject, "was", "not" if negated else "", intensifier, adjective]
    return " ".join(filter(None, words))


def _review_and_mirror(rng: random.Random) -> dict[str, int]:
    if rng.random() < 0.4:
        label = rng.randrange(2)
        return {_clause(rng, label): label}
    good, bad = _clause(rng, 1), _clause(rng, 0)
    pattern, decides = rng.choice([("{} but {}", 1), ("although {} , {}", 1), ("{} although {}", 0)])
    return {pattern.format(good, bad): 1 - decides, pattern.format(bad, good): decides}
