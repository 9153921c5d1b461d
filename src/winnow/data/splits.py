"""Reading the splits of a task: hub data sets, local folders, single files, or a generator of the project."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import hydra
from datasets import Dataset, DatasetDict

from winnow.config.task import Data
from winnow.data.cached_map import DAMAGED
from winnow.data.squad_json import is_squad_json, read_squad_json
from winnow.errors import UserError, nearest
from winnow.files.local_files import formats, local_files

# Held-out rows and sub-samples are the same in every run, whatever its seed: their metrics must be comparable.
_SPLIT_SEED = 0


def load_splits(data: Data) -> DatasetDict:
    """The splits of a task as they are stored: train, validation splits and test, if they exist.

    Args:
        data: the ``task.data`` section of the configuration.
    """
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # what it would log, it also raises
    splits = _read(data)
    for name, split in splits.items():
        if len(split) == 0:
            raise UserError(f"the {name} split is empty: it has no rows.")
    _check_columns(splits, data)
    return splits


def arrange_splits(splits: DatasetDict, data: Data) -> DatasetDict:
    """The splits that a run uses, in this order: train, the validation splits, test if it exists.

    Without a validation split, one is taken from the training data; splits are cut to max_train_samples and
    max_eval_samples.
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
    return arranged


def _check_columns(splits: DatasetDict, data: Data) -> None:
    """Refuse splits without a column that the settings of the task name; a test split needs no labels."""
    settings = {name: value for name, value in data.model_dump().items() if name.endswith(("_column", "_columns"))}
    for name, split in splits.items():
        for setting, columns in settings.items():
            for column in [columns] if isinstance(columns, str) else columns or ():
                if column not in split.column_names and not (name == "test" and setting == "label_column"):
                    raise UserError(
                        f"task.data.{setting}: there is no column '{column}' in the {name} split; "
                        f"it has {', '.join(split.column_names)}.{nearest(column, split.column_names)}"
                    )


def _read(data: Data) -> DatasetDict:
    if data.generator:
        return hydra.utils.get_method(data.generator)()
    files = local_files(data)
    if files:
        return DatasetDict({name: _read_files(paths, data) for name, paths in _wanted(files, data).items()})
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
    return DatasetDict(_wanted(splits, data))


def _wanted(splits: Mapping[str, Any], data: Data) -> dict[str, Any]:
    """The splits that a task uses, of those that exist."""
    if "train" not in splits:
        raise UserError(
            f"there is no training split, only {', '.join(splits)}; name one with task.data.files.train=FILE."
        )
    return {name: split for name, split in splits.items() if name in ("train", "test", *data.validation)}


def _read_files(paths: list[Path], data: Data) -> Dataset:
    """One split from its files; an error names the damaged file."""
    options: dict[str, Any] = {}
    kind = formats(data)[paths[0].suffix]
    if kind == "csv":  # "null" and "NA" are texts, not missing values
        options = {"keep_default_na": False, "sep": "\t" if paths[0].suffix == ".tsv" else ","}
    for path in paths:
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty: it has 0 bytes.")
    if kind == "conll":
        options = {"column_names": _conll_columns(paths[0], data), "comment_prefix": data.comment_prefix}
    try:
        if paths[0].suffix == ".json" and all(map(is_squad_json, paths)):
            return read_squad_json(paths)
        return _load(kind, data_files=[str(path) for path in paths], split="train", **options)
    except Exception as error:
        names = ", ".join(str(path) for path in paths)
        if "corresponds to no data" in str(error):
            raise UserError(f"{names} has no rows.") from error
        raise UserError(f"{names} could not be read as {kind}: {_cause(error)}.") from error


def _load(kind: str, **options: Any) -> Dataset:
    """A split by a loader of `datasets`, which caches it; a damaged cache is written again."""
    try:
        return datasets.load_dataset(kind, **options)
    except DAMAGED:
        return datasets.load_dataset(kind, download_mode="force_redownload", **options)


def _conll_columns(path: Path, data: Data) -> list[str]:
    """Names for the columns of a CoNLL file: the first has the word, the last its tag."""
    skipped = ("-DOCSTART-", *filter(None, [data.comment_prefix]))
    with path.open(errors="replace") as file:
        width = next((len(line.split()) for line in file if line.strip() and not line.startswith(skipped)), 0)
    if width < 2:
        raise UserError(f"{path} has no line with a word and its tag; task.data.plain_text=conll expects them.")
    return [data.text_columns[0], *(f"column_{i}" for i in range(2, width)), str(data.label_column)]


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {(str(error) or 'no message').strip().splitlines()[0].rstrip('.')}"


def _sample(split: Dataset, limit: int | None) -> Dataset:
    if limit is None or limit >= len(split):
        return split
    return split.shuffle(seed=_SPLIT_SEED).select(range(limit))
