"""Reading the splits of a task: hub data sets, local folders, single files, or a generator of the project."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import hydra
from datasets import Dataset, DatasetDict

from winnow.config.task import UNLABELED, CustomData, Data, QuestionAnsweringData
from winnow.data.reader import Layout
from winnow.data.stored_rows import Wanted, stored_rows
from winnow.data.unlabeled import with_unlabeled
from winnow.errors import UserError, nearest
from winnow.files.local_files import TEXT, formats, local_files, unlabeled_file

# Held-out rows and sub-samples are the same in every run, whatever its seed: their metrics must be comparable.
_SPLIT_SEED = 0
_WITHOUT_TEST = (
    " To leave that split out, name the files of the others with task.data.files.train=FILE and "
    "task.data.files.validation=FILE."
)
_HEADER = " The first line has the names of the columns; if it has none, set task.data.header=false."
_NAMING = {
    "csv": _HEADER,
    "tsv": _HEADER,
    "conll": " Each line needs a word and its tag, with a tab or blanks between.",
}


def load_splits(data: Data, *, unlabeled: bool = False) -> DatasetDict:
    """The splits of a task as they are stored: train, validation splits and test, if they exist.

    Args:
        data: the ``task.data`` section of the configuration.
        unlabeled: True: also the split UNLABELED, if the section names its file.
    """
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what it would log, it also raises
    splits = _read(data)
    if unlabeled and data.files.unlabeled:
        splits[UNLABELED] = unlabeled_rows(data)
    for name, split in splits.items():
        if len(split) == 0:
            raise UserError(f"the {name} split is empty: it has no rows.")
    return splits


def unlabeled_rows(data: Data) -> Dataset:
    """The rows of the file of texts without labels as they are stored; no rows if there is no such file."""
    file = unlabeled_file(data)
    return _read_files([file], UNLABELED, data) if file else Dataset.from_dict({})


def arrange_splits(splits: DatasetDict, data: Data) -> DatasetDict:
    """The splits that a run uses, in this order: train, the validation splits, test if it exists.

    Without a validation split, one is taken from the training data; splits are cut to max_train_samples and
    max_eval_samples. All rows without labels are added to the training data.
    """
    splits, wanted = DatasetDict(splits), list(data.validation)
    found = [name for name in wanted if name in splits]
    if not found:
        if len(splits["train"]) < 2:
            raise UserError("the train split has one row; it cannot be divided into training and validation rows.")
        held_out = splits["train"].train_test_split(test_size=data.validation_fraction, seed=_SPLIT_SEED)
        splits["train"], splits[wanted[0]] = held_out["train"], held_out["test"]
        found = wanted[:1]
    arranged = DatasetDict()
    for name in ["train", *found, *(["test"] if "test" in splits else [])]:
        arranged[name] = _sample(splits[name], data.max_train_samples if name == "train" else data.max_eval_samples)
    if data.files.unlabeled and UNLABELED in splits:
        arranged["train"] = with_unlabeled(arranged["train"], splits[UNLABELED])
    return arranged


def unlabelled_rows(path: Path, data: Data, name: str) -> Dataset:
    """The texts of a file of rows like those of the task, each with its `PLACE`; labels are not read.

    Args:
        path: of the file, in a format of ``task.data.files``.
        data: the ``task.data`` section of the configuration.
        name: of the rows, for messages.
    """
    rows, columns = stored_rows([path], layout := _layout(path, data), Wanted(set(data.text_columns)))
    _check_setting("text_columns", data.text_columns, columns, name, _NAMING.get(layout.kind, ""))
    return rows


def _check_columns(columns: Sequence[str], data: Data, split: str, rule: str = "") -> None:
    """Refuse a split without a column that the settings name; a test split needs no labels, and none needs ids.

    Args:
        columns: of the split.
        data: the settings.
        split: name of the split.
        rule: how columns get their names, for messages.
    """
    for setting, wanted in _column_settings(data).items():
        unneeded = setting == "label_column" and split in ("test", UNLABELED)
        if not unneeded:
            needed = [c for c in wanted if setting != "id_column" or nearest(c, columns)]
            _check_setting(setting, needed, columns, f"{split} split", _WITHOUT_TEST if split == "test" else rule)


def _check_setting(setting: str, wanted: Sequence[str], columns: Sequence[str], where: str, rule: str) -> None:
    for column in wanted:
        if column not in columns:
            raise UserError(
                f"task.data.{setting}: there is no column '{column}' in the {where}; "
                f"it has {', '.join(columns)}.{nearest(column, columns) or rule}"
            )


def _column_settings(data: Data) -> dict[str, list[str]]:
    """The columns that each setting names."""
    settings = {name: value for name, value in data.model_dump().items() if name.endswith(("_column", "_columns"))}
    return {name: [value] if isinstance(value, str) else list(value or ()) for name, value in settings.items()}


def _read(data: Data) -> DatasetDict:
    if data.generator:
        generated: DatasetDict = hydra.utils.get_method(data.generator)()
        for name, split in generated.items():
            _check_columns(split.column_names, data, str(name))
        return generated
    files = local_files(data)
    if files:
        return DatasetDict({name: _read_files(paths, name, data) for name, paths in _wanted(files, data).items()})
    if not data.path:
        raise UserError(
            "there is no data: name a hub data set or a local folder with task.data.path=..., "
            "or files with task.data.files.train=FILE."
        )
    try:
        splits = datasets.load_dataset(data.path, data.subset, revision=data.revision)
    except Exception as error:
        raise UserError(
            f"task.data.path={data.path} is no local folder and could not be read from the hub ({_cause(error)}). "
            "Without a connection name a local folder whose files are named after their splits."
        ) from error
    wanted = _wanted(splits, data)
    for name, split in wanted.items():
        _check_columns(split.column_names, data, name)
    return DatasetDict(wanted)


def _wanted(splits: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """The splits that a task uses, of those that exist."""
    if "train" not in splits:
        raise UserError(
            f"there is no training split, only {', '.join(splits)}; name one with task.data.files.train=FILE."
        )
    return {name: split for name, split in splits.items() if name in ("train", "test", *data.validation)}


def _read_files(paths: Sequence[Path], name: str, data: Data) -> Dataset:
    """One split from its files."""
    layout = _layout(paths[0], data, name)
    columns: set[str] | None = {column for named in _column_settings(data).values() for column in named}
    if isinstance(data, CustomData):
        columns = None
    elif name == UNLABELED:
        columns = set(data.text_columns)
    structured = {data.label_column} if isinstance(data, QuestionAnsweringData) else ()
    split, columns_there = stored_rows(paths, layout, Wanted(columns, structured))
    _check_columns(columns_there, data, name, _NAMING.get(layout.kind, ""))
    return split


def _layout(path: Path, data: Data, name: str = "") -> Layout:
    """How a file of a split is read."""
    suffix = path.suffix.lower()
    return Layout(
        "text" if name == UNLABELED and suffix == TEXT else formats(data)[suffix],
        encoding=data.encoding,
        header=data.header,
        separator=data.separator,
        comment_prefix=data.comment_prefix,
        text_column=data.text_columns[0],
        tag_column=data.label_column or "",
        prefix="task.data.",
    )


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {(str(error) or 'no message').strip().splitlines()[0].rstrip('.')}"


def _sample(split: Dataset, limit: int | None) -> Dataset:
    if limit is None or limit >= len(split):
        return split
    return split.shuffle(seed=_SPLIT_SEED).select(range(limit))
