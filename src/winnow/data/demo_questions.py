"""The embedded demo data for question answering: who sold what to whom, and where."""

import random

from datasets import Dataset, DatasetDict, Features, List, Value

NAMES = (
    *("anna", "boris", "carla", "david", "elena", "felix", "greta", "hugo", "irene", "jonas"),
    *("karin", "louis", "marta", "nils", "olga", "peter", "rosa", "simon", "tina", "victor"),
)
PLACES = ("barn", "cellar", "garden", "kitchen", "library", "market", "mill", "office", "school", "tower")
THINGS = ("bell", "boat", "book", "chair", "clock", "knife", "lamp", "mirror", "ring", "table")
QUALITIES = ("old", "small", "cold", "dark", "quiet", "empty", "green", "narrow", "new", "large")
SALES = (
    "{seller} sold the {thing} to {buyer} in the {place} .",
    "{buyer} bought the {thing} from {seller} in the {place} .",
    "in the {place} the {thing} was sold to {buyer} by {seller} .",
    "the {thing} was bought by {buyer} from {seller} in the {place} .",
)
WITNESS = "{witness} saw it ."
QUESTIONS = {
    "seller": "who sold it ?",
    "buyer": "who bought it ?",
    "thing": "what was sold ?",
    "place": "where was it sold ?",
}
_FEATURES = Features(
    {
        "id": Value("string"),
        "context": Value("string"),
        "question": Value("string"),
        "answers": {"text": List(Value("string")), "answer_start": List(Value("int32"))},
    }
)


def questions(train: int = 12000, held_out: int = 1000, seed: int = 0) -> DatasetDict:
    """Questions with their contexts and answers: train, and validation and test of ``held_out`` rows each.

    Each context names three people in any order, and only the words around a name show who sold and who bought. Things
    and places have up to two adjectives from the same list. So no list of words gives the answer.
    """
    rng = random.Random(seed)
    rows = [_row(rng, number) for number in range(train + 2 * held_out)]
    parts = {"train": rows[2 * held_out :], "validation": rows[:held_out], "test": rows[held_out : 2 * held_out]}
    return DatasetDict({name: Dataset.from_list(part, features=_FEATURES) for name, part in parts.items()})


def vocabulary() -> list[str]:
    """Every word of the questions and contexts."""
    sentences = " ".join([*SALES, WITNESS, *QUESTIONS.values()]).split()
    words = {word for word in sentences if not word.startswith("{")}
    return sorted({*NAMES, *PLACES, *THINGS, *QUALITIES, *words})


def _row(rng: random.Random, number: int) -> dict[str, object]:
    seller, buyer, witness = rng.sample(NAMES, 3)
    roles = {"seller": seller, "buyer": buyer, "thing": _described(rng, THINGS), "place": _described(rng, PLACES)}
    sentences = [rng.choice(SALES), WITNESS.format(witness=witness)]
    rng.shuffle(sentences)
    template, role = " ".join(sentences), rng.choice(list(QUESTIONS))
    start = len(template.split("{" + role)[0].format(**roles))
    return {
        "id": f"q{number}",
        "context": template.format(**roles),
        "question": QUESTIONS[role],
        "answers": {"text": [roles[role]], "answer_start": [start]},
    }


def _described(rng: random.Random, nouns: tuple[str, ...]) -> str:
    return " ".join([*rng.sample(QUALITIES, rng.randrange(3)), rng.choice(nouns)])
