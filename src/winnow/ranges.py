"""What each named number may be. Names are spelled one way, so one rule a name serves every config and modifier."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from winnow.errors import UserError
from winnow.functional.structure import MAX_GROUP, Structure


@dataclass(frozen=True)
class Range:
    says: str
    allows: Callable[[Any], bool]
    remedy: Callable[[Any], str] = lambda value: ""


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _as_fraction(value: Any) -> str:
    return f"; write {value:g} % as {value / 100:g}" if _number(value) and 1 <= value <= 100 else ""


def _layer(value: Any) -> bool:
    return _whole(value) and value >= 0


def _list_of(value: Any, allows: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and bool(value) and all(map(allows, value))


def _one_of(*names: str) -> Range:
    return Range(f"one of {', '.join(names)}", lambda v: v in names)


def _structure(value: Any) -> bool:
    try:
        Structure.parse(value)
    except ValueError:
        return False
    return True


_SPARSITY = Range("in [0, 1)", lambda v: _number(v) and 0 <= v < 1, _as_fraction)
_FRACTION = Range("in [0, 1]", lambda v: _number(v) and 0 <= v <= 1, _as_fraction)
_PROPER_FRACTION = Range("above 0 and below 1", lambda v: _number(v) and 0 < v < 1, _as_fraction)
_POSITIVE = Range("above 0", lambda v: _number(v) and v > 0)
_POSITIVE_OR_NULL = Range("above 0, or null", lambda v: v is None or (_number(v) and v > 0))
_NOT_NEGATIVE = Range("0 or more", lambda v: _number(v) and v >= 0)
_COUNT = Range("a whole number, 1 or more", lambda v: _whole(v) and v >= 1)
_COUNT_OR_NULL = Range("a whole number, 1 or more, or null", lambda v: v is None or (_whole(v) and v >= 1))
_EPOCH = Range("an epoch, 0 or more, or -1", lambda v: _number(v) and (v >= 0 or v == -1))
_TEXT_OR_NULL = Range("a text, or null", lambda v: v is None or (isinstance(v, str) and v != ""))
_YES_NO = Range("true or false", lambda v: isinstance(v, bool))

RANGES: dict[str, Range] = {
    "initial_sparsity": _SPARSITY,
    "final_sparsity": _SPARSITY,
    "min_sparsity": _SPARSITY,
    "hardness": _FRACTION,
    "temperature": _POSITIVE,
    "weight": _POSITIVE,
    "layers": Range("auto, or a mapping from layers of the student to layers of the teacher", lambda v: v == "auto"),
    "keep": Range(
        "a number of layers, 1 or more, or a list of layers, counted from 0",
        lambda v: v is None or (_whole(v) and v >= 1) or _list_of(v, _layer),
    ),
    "drop": Range(
        "a list of layers, counted from 0, or of regular expressions",
        lambda v: v is None or _list_of(v, lambda entry: _layer(entry) or isinstance(entry, str)),
    ),
    "start_epoch": _EPOCH,
    "end_epoch": _EPOCH,
    "disable_observer_epoch": _EPOCH,
    "update_frequency": _POSITIVE,
    "start_from_teacher": _YES_NO,
    "shape": _one_of("cubic", "linear", "inverse_cubic"),
    "scope": _one_of("matrix", "global"),
    "structure": Range(f"unstructured, block4 or N:M with N below M, up to {MAX_GROUP}, such as 2:4", _structure),
    "weight_bits": Range("8 or 4", lambda v: _whole(v) and v in (8, 4)),
    "per_channel": _YES_NO,
    "embeddings": _YES_NO,
    "attention": _YES_NO,
    "reduce_range": _YES_NO,
    "calibration_samples": _COUNT,
    "num_epochs": _COUNT,
    "learning_rate": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "schedule": _one_of("constant", "linear", "cosine", "cyclic_linear", "cyclic_cosine", "step"),
    "initial_learning_rate": _NOT_NEGATIVE,
    "final_learning_rate": _NOT_NEGATIVE,
    "warmup": _FRACTION,
    "cycle_epochs": _POSITIVE_OR_NULL,
    "step_epochs": _POSITIVE_OR_NULL,
    "gamma": _POSITIVE,
    "max_grad_norm": _NOT_NEGATIVE,
    "seed": Range("a whole number, 0 or more", lambda v: _whole(v) and v >= 0),
    "batch_size": _COUNT,
    "eval_batch_size": _COUNT,
    "drop_last": _YES_NO,
    "max_length": _COUNT,
    "max_seq_length": _COUNT,
    "doc_stride": Range("a whole number, 0 or more", lambda v: _whole(v) and v >= 0),
    "max_question_length": _COUNT,
    "max_answer_length": _COUNT,
    "n_best": _COUNT,
    "top_k": _COUNT,
    "threads": _COUNT,
    "unanswerable": _YES_NO,
    "null_score_diff_threshold": Range("a number", _number),
    "plain_text": Range("text, conll or null", lambda v: v in (None, "text", "conll")),
    "comment_prefix": _TEXT_OR_NULL,
    "line_by_line": _YES_NO,
    "mask_probability": _PROPER_FRACTION,
    "validation_fraction": _PROPER_FRACTION,
    "max_train_samples": _COUNT_OR_NULL,
    "max_eval_samples": _COUNT_OR_NULL,
    "regression": _YES_NO,
    "multi_label": _YES_NO,
    "label_separator": _TEXT_OR_NULL,
    "drop_empty": _YES_NO,
    "split_punctuation": _YES_NO,
    "label_all_tokens": _YES_NO,
    "deterministic": _YES_NO,
    "checkpoint_every": _COUNT,
    "keep_checkpoints": _YES_NO,
    "resume": _YES_NO,
    "num_workers": Range("auto or a whole number, 0 or more", lambda v: v == "auto" or (_whole(v) and v >= 0)),
    "accumulate_grad_batches": _COUNT,
    "max_steps": _COUNT_OR_NULL,
    "scale_recipe": _YES_NO,
    "limit_train_batches": Range(
        "null, a fraction or a number of batches", lambda v: v is None or (_number(v) and v > 0)
    ),
    "patience": _COUNT_OR_NULL,
    "precision": _one_of("auto", "bf16-mixed", "16-mixed", "32-true"),
    "cache.precision": _one_of("float32", "float16"),
    "cache.folder": Range("a folder", lambda v: isinstance(v, str) and v != ""),
    "gigabytes": _NOT_NEGATIVE,
    "export.precision": _one_of("auto", "float32", "float16", "int8"),
    "sequence_length": _COUNT_OR_NULL,
    "export.batch_size": _COUNT_OR_NULL,
    "samples": _COUNT,
    "project": Range("a name", lambda v: isinstance(v, str) and v != ""),
    "entity": _TEXT_OR_NULL,
    "offline": _YES_NO,
    "compare": _YES_NO,
    "external_data_above": Range("bytes, 0 to 2,000,000,000", lambda v: _whole(v) and 0 <= v <= 2_000_000_000),
}


# Settings that may be a mapping from pattern to value.
BY_PATTERN = ("final_sparsity",)


def check_range(name: str, value: Any, path: str | None = None) -> None:
    """Refuse a value outside the range of its name.

    Args:
        name: the parameter; one that has no rule passes. A rule of the whole path comes before that of the name.
        value: what was given.
        path: how the user spells it, where that is longer, e.g. ``recipe.pruning.final_sparsity``.
    """
    rule = RANGES.get(path or name, RANGES.get(name))
    if rule is not None and not rule.allows(value):
        raise UserError(f"{path or name} must be {rule.says}, got {value!r}{rule.remedy(value)}.")
