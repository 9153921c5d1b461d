"""The embedded demo data: short reviews whose sentiment depends on negation and word order.

Every review of two clauses has a mirror: the same words in another order with the other label. Half of all adjectives
are negated. So a bag of words is at chance.
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
INTENSIFIERS = ["", "", "very", "really", "rather"]
_LABELS = ["negative", "positive"]


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
    words = {*SUBJECTS, *POSITIVE, *NEGATIVE, *filter(None, INTENSIFIERS), "the", "was", "not", "but", "although", ","}
    return sorted(words)


def _clause(rng: random.Random, label: int) -> str:
    negated = rng.random() < 0.5
    adjective = rng.choice(POSITIVE if label != negated else NEGATIVE)
    intensifier = rng.choice(INTENSIFIERS[:-1] if negated else INTENSIFIERS)  # "not rather good" is not English
    words = ["the", rng.choice(SUBJECTS), "was", "not" if negated else "", intensifier, adjective]
    return " ".join(filter(None, words))


def _review_and_mirror(rng: random.Random) -> dict[str, int]:
    if rng.random() < 0.4:
        label = rng.randrange(2)
        return {_clause(rng, label): label}
    good, bad = _clause(rng, 1), _clause(rng, 0)
    pattern, decides = rng.choice([("{} but {}", 1), ("although {} , {}", 1), ("{} although {}", 0)])
    return {pattern.format(good, bad): 1 - decides, pattern.format(bad, good): decides}
