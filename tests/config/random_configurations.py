"""Random command lines, each planned in this process: ``python -m tests.config.random_configurations 10000 --seed 1``.

Every one must end in a plan or in one short message. An override that a plan accepts must change the configuration, or
name the value that is there already.
"""

import argparse
import contextlib
import io
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

import winnow.files.hub
from winnow.commands import plan
from winnow.config.resolve import run_config
from winnow.data import demo, demo_entities, demo_questions
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.training.trainer import build_trainer, check_hardware

SECONDS = 20  # the longest that a plan may take
TASKS = ("demo", "demo", "demo_entities", "demo_questions", "sst2", "squad", "mnli", "stsb", "text_classification")
RECIPES = (
    *("dense", "prune80", "prune85", "oneshot73", "movement80", "acdc80", "cyclic90", "layers5", "layers1_prune80"),
    *("prune80_quant", "quant", "ptq", "transfer", "prune64_18of30", "gmp80"),
)
OPTIONS = {
    "task": TASKS,
    "recipe": RECIPES,
    "model": ("tiny", "bert_base", "minilm", "roberta_base"),
    "teacher": ("none", "dense", "self", "checkpoint"),
    "trainer": ("default", "cpu", "ddp", "debug"),
    "logger": ("none", "csv", "tensorboard", "wandb"),
    "export": ("none", "onnx"),
}
VALUES = (
    *("0", "1", "2", "3", "-1", "80", "2147483648", "1000000000000", "-9223372036854775809", "0.5", "1.0", "-0.1"),
    *("1e-9", "1e30", "nan", "inf", "-inf", "true", "false", "null", "''", "'  '", "auto", "none", "text", "üñí→"),
    *("[]", "[a]", "[1,2]", "[[1]]", "[null]", "{}", "{a:1}", "{1:2}", "{a:{b:[]}}", "{.*query.*:0.5,.*:0.8}", "???"),
    *("'${nope}'", "'${seed}'", "'${recipe.num_epochs}'", "'${mul:a,b}'", "'${mul:2,3}'", "'${task}'", "'${now:%Y}'"),
    *("'${oc.env:HOME}'", "'${'", "'a b'", "a/b", "../x", "os.system", "'.*'", "'('", "'['", "2:4", "block4", "linear"),
    *("step", "cosine", "ddp", "gpu", "cpu", "int8", "float16", "16", "32", "bf16", "9" * 400, "0x10", "1_000"),
    *("'\\n'", "'%s%n'", "\u202e"),
)


def paths_of(node: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """The full names of all settings and sections, with their values."""
    for name, value in node.items():
        yield f"{before}{name}", value
        if isinstance(value, dict):
            yield from paths_of(value, f"{before}{name}.")


# The option under which a setting exists, by the start of its name.
OWNERS = {
    "recipe.quantization": "recipe=prune80_quant",
    "recipe.layers": "recipe=layers1_prune80",
    "logger": "logger=wandb",
    "export": "export=onnx",
    **dict.fromkeys(("task.max_", "task.doc_", "task.n_best", "task.null_", "task.unans"), "task=demo_questions"),
    **dict.fromkeys(("task.data.id_", "task.data.answer_"), "task=demo_questions"),
}


def random_overrides(choose: random.Random, paths: Mapping[str, Any]) -> list[str]:
    options = {group: choose.choice(names) for group, names in OPTIONS.items() if choose.random() < 0.15}
    settings = [each for _ in range(choose.choice((1, 1, 1, 1, 2, 3))) for each in _setting(choose, paths)]
    owners = {option for start, option in OWNERS.items() for each in settings if each.lstrip("+~").startswith(start)}
    options |= dict(option.split("=") for option in sorted(owners) if choose.random() < 0.9)
    return [*(f"{group}={name}" for group, name in options.items()), *settings]


def _setting(choose: random.Random, paths: Mapping[str, Any]) -> Iterator[str]:
    path = choose.choice(list(paths))
    if choose.random() < 0.05:
        at = choose.randrange(len(path))
        yield f"{path[:at]}{choose.choice(('x', '', '.', 'é'))}{path[at + 1 :]}={choose.choice(VALUES)}"
    if choose.random() < 0.03:
        yield f"+{path}.{choose.choice(('new', 'name', '_target_'))}={choose.choice(VALUES)}"
    value = choose.choice(VALUES) if choose.random() < 0.5 else _plausible(choose, paths[path])
    prefix = choose.choice((*[""] * 17, "+", "++", "~"))
    yield f"{prefix}{path}" if prefix == "~" and choose.random() < 0.8 else f"{prefix}{path}={value}"


def _plausible(choose: random.Random, present: Any) -> str:
    """Another value of the kind that a setting has."""
    if isinstance(present, bool):
        return str(not present).lower()
    if isinstance(present, int):
        return str(choose.choice((1, 2, 3, 5, 8, 2 * present)))
    if isinstance(present, float):
        return str(choose.choice((0.1, 0.25, 0.5, 0.9, present / 2)))
    return choose.choice(("3", "0.25", "true", "a", "[0]", "null"))


class _TooLongError(BaseException):
    """A plan that took more than `SECONDS`; no handler of the project catches it."""


def _give_up(*args: Any) -> None:
    raise _TooLongError


def outcome_of(overrides: Sequence[str]) -> tuple[str, str]:
    """How the plan of a command line ended: accepted, refused, or in one of the faults that must not be."""
    output, errors = io.StringIO(), io.StringIO()
    GlobalHydra.instance().clear()
    before, sys.argv = sys.argv, ["plan", *overrides, "plan.picture=null"]
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            plan.main()
            message = ""
    except SystemExit as ended:
        message = ended.code if isinstance(ended.code, str) else errors.getvalue() or f"status {ended.code}"
    except _TooLongError:
        return "hang", ""
    except BaseException as error:
        return "trace", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        sys.argv = before
    if "Traceback" in message + output.getvalue() + errors.getvalue():
        return "trace", message + errors.getvalue()
    if message:
        is_short = message.startswith("error: ") and message.count("\n") < 12 and "HYDRA_FULL_ERROR" not in message
        return ("refused" if is_short else "raw error"), message
    return _effect(overrides, errors.getvalue())


def _effect(overrides: Sequence[str], notes: str) -> tuple[str, str]:
    """Of an accepted command line: whether each setting has changed something, and whether a Trainer takes it."""
    config = _typed(overrides)
    try:
        with contextlib.redirect_stderr(io.StringIO()), tempfile.TemporaryDirectory() as folder:
            check_hardware(config.trainer)
            build_trainer(config, Path(folder), [], monitor="val/accuracy")
    except Exception as error:
        if type(error).__name__ != "UserError":
            return "trainer", f"{type(error).__name__}: {error}"
        return "refused", str(error)
    for override in overrides:
        if override.partition("=")[0] in OPTIONS or f"note: {override} has no effect" in notes:
            continue
        try:
            without = _typed([other for other in overrides if other is not override])
        except (ConfigCompositionException, UserError):
            continue  # another override needs it
        if _shown(without) == _shown(config) and not _names_present_value(override, without.plain()):
            return "no effect", override
    return "accepted", ""


def _typed(overrides: Sequence[str]) -> Any:
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        composed = compose("job", overrides=[each for each in overrides if not each.lstrip("+~").startswith("plan")])
    return run_config(composed, overrides)


def _shown(config: Any) -> dict[str, Any]:
    return {name: value for name, value in config.plain().items() if name != "settings"}


def _names_present_value(override: str, plain: Any) -> bool:
    path, _, typed = override.lstrip("+~").partition("=")
    present = OmegaConf.select(OmegaConf.create(plain), path)
    present = OmegaConf.to_container(present) if OmegaConf.is_config(present) else present
    parsed = OverridesParser.create().parse_override(f"a={typed}").value()
    return bool(present == parsed or [present] == parsed or present == [parsed] or "${" in typed)


def _small(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda: function(train=64, held_out=8)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("number", type=int)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    faults = run(options.number, options.seed)
    sys.exit(f"{len(faults)} faults" if faults else 0)


def run(number: int, seed: int) -> list[tuple[str, str, list[str]]]:
    """Plan random command lines, and print how they ended.

    Returns:
        Of each fault its kind, its message and the command line.
    """
    demo.reviews = _small(demo.reviews)
    demo_entities.tagged_sentences = _small(demo_entities.tagged_sentences)
    demo_questions.questions = _small(demo_questions.questions)
    winnow.files.hub.is_reachable = lambda *args: False
    choose = random.Random(seed)
    paths = {path: value for recipe in ("prune80_quant", "layers6_prune80") for path, value in _paths(recipe)}
    counts: Counter[str] = Counter()
    faults = []
    began = time.monotonic()
    for _ in range(number):
        overrides = random_overrides(choose, paths)
        kind, message = outcome_of(overrides)
        counts[kind] += 1
        if kind not in ("accepted", "refused"):
            faults.append((kind, message, overrides))
            print(kind, overrides, message[:500], flush=True)
    print(f"seed {seed}: {dict(counts)} in {time.monotonic() - began:,.0f} s", flush=True)
    return faults


def _paths(recipe: str) -> list[tuple[str, Any]]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        composed = compose("job", overrides=[f"recipe={recipe}", "task=demo_questions", "logger=wandb", "export=onnx"])
    return list(paths_of(OmegaConf.to_container(composed, resolve=True)))


if __name__ == "__main__":
    main()
