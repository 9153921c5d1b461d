"""Entities in tagged sentences and their scores, by the rules of conlleval."""

from collections.abc import Iterable, Sequence

OUTSIDE = "O"
_BEGIN_OR_INSIDE = ("B", "I")  # prefixes after which an entity may continue
_INSIDE_OR_END = ("I", "E", "L")  # prefixes that continue an entity
_PREFIXES = {*_BEGIN_OR_INSIDE, *_INSIDE_OR_END, "S", "U"}


def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and type: 'B-creative-work' is ('B', 'creative-work'); 'I' and 'O' have the type ''."""
    prefix, _, kind = tag.partition("-")
    return prefix, kind


def is_entity_tag(tag: str) -> bool:
    """True for a tag of IOB1, IOB2, IOBES or BILOU, 'O' among them."""
    return tag == OUTSIDE or split_tag(tag)[0] in _PREFIXES


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The entities of one sentence as (type, first word, last word), in their order.

    Every sequence of tags is valid: an entity continues where I, E or L follows B or I of the same type, and begins at
    every other tag but O (conlleval of CoNLL-2000, Tjong Kim Sang and Buchholz 2000; seqeval's default). So IOB1,
    where B only separates adjacent entities, and an I at the start of an entity need no repair.

    Args:
        tags: of each word, such as B-person, I-person and O.
    """
    found: list[tuple[str, int, int]] = []
    before, kind_before = OUTSIDE, ""
    for i, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        if prefix in _INSIDE_OR_END and before in _BEGIN_OR_INSIDE and kind == kind_before:
            found[-1] = (kind, found[-1][1], i)
        elif tag != OUTSIDE:
            found.append((kind, i, i))
        before, kind_before = prefix, kind
    return found


def count_entities(predicted: Iterable[Sequence[str]], true: Iterable[Sequence[str]]) -> tuple[int, int, int]:
    """Entities over all sentences: (predicted with the right type, start and end, predicted, true)."""
    n_correct = n_predicted = n_true = 0
    for guess, truth in zip(predicted, true, strict=True):
        guessed, wanted = set(entities(guess)), set(entities(truth))
        n_correct += len(guessed & wanted)
        n_predicted += len(guessed)
        n_true += len(wanted)
    return n_correct, n_predicted, n_true
