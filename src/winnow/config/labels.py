"""Names of folders and titles: models, settings of a command line, sweeps."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

# Overrides that do not make another configuration: the options, which tables name anyway, and what cannot change a
# result.
_NOT_SHOWN = re.compile(
    r"(task|model|recipe|teacher|seed|experiment|logger|export|output_dir|resume)$|hydra[./]|"
    r"(logger|export|cache)\.|trainer\.(progress_bar|num_workers|log_every_n_steps|checkpoint_every|keep_checkpoints)$"
)

_NOT_A_NAME = re.compile(r"/|model|\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-\d+")
_LONGEST = 200  # bytes of a folder's name; file systems allow 255


def folder_name(*parts: Any) -> str:
    """The parts, joined by dashes, as the name of one folder: no slash, no invisible character, no dot in front.

    A long name is cut, and ends with six hexadecimal digits of the whole.
    """
    whole = "-".join(map(str, parts))
    name = re.sub(r"^\.|^$", "+", "".join(c if c.isprintable() and c != "/" else "+" for c in whole))
    if len(name.encode()) <= _LONGEST:
        return name
    return name.encode()[: _LONGEST - 7].decode(errors="ignore") + f"-{_digits(whole)}"


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:6]


def model_label(name: Any) -> str:
    """The last part of a model's name; for a run folder without the time at its end."""
    parts = [part for part in Path(str(name)).parts if not _NOT_A_NAME.fullmatch(part)]
    return parts[-1] if parts else "model"


def settings_of(overrides: Iterable[str]) -> dict[str, str]:
    """The settings of a command line by full name, without its options and without what cannot change a result."""
    pairs = (override.lstrip("+~").partition("=")[::2] for override in overrides)
    return {name: value for name, value in sorted(pairs) if not _NOT_SHOWN.match(name)}


def settings_label(overrides: Iterable[str]) -> str:
    """'' for a command line without settings; else a dash and six hexadecimal digits of them."""
    settings = settings_of(overrides)
    return f"-{_digits(json.dumps(settings))}" if settings else ""


def sweep_name(overrides: Sequence[str], task: str) -> str:
    """The folder of a sweep: experiment, tasks, models, and a label of the settings that all its jobs share.

    So the same command continues in the same folder, also with more recipes, teachers or seeds.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    options = dict(override.partition("=")[::2] for override in overrides)
    fixed = [typed for typed, each in zip(overrides, parsed, strict=True) if not each.is_sweep_override()]
    task = options.get("task", "" if "experiment" in options else task)
    names = [options.get("experiment"), task, options.get("model")]
    return re.sub(r"[^\w.+-]", "+", "-".join(filter(None, names)))[:80] + settings_label(fixed)
