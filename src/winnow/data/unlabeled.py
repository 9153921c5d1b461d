"""Training rows without labels, which a teacher labels: the column LABELLED tells them from the others."""

from datasets import Dataset, concatenate_datasets

LABELLED = "labelled"  # absent where all rows have labels


def with_unlabeled(train: Dataset, unlabeled: Dataset) -> Dataset:
    """The rows of both, with the column LABELLED.

    Args:
        train: prepared rows.
        unlabeled: the same columns; its labels stand for nothing.
    """
    marked = [
        rows.add_column(LABELLED, [is_labelled] * len(rows))
        for rows, is_labelled in ((train, True), (unlabeled.cast(train.features), False))
    ]
    return concatenate_datasets(marked)
