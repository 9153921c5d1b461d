"""Kill real trainings with ``kill -9`` at random steps, resume them, and compare each with an uninterrupted training.

``python -m tests.kill_and_resume --seed 1 --kills 20 [--processes 2]`` prints one line per training. It exits with
status 1 unless the last checkpoints (weights, masks, optimizer states and all other state) are bit-identical.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tests.toys import review_tables
from winnow.files.conf_folder import CONF
from winnow.loggers.history import METRICS, read_rows

# The runs use dropout, gradient accumulation and loader processes, and write a checkpoint every third step.
SETTINGS = [
    *("task=text_classification", "task.data.batch_size=8", "model=tiny", "model.config.hidden_size=64"),
    *("model.config.hidden_dropout_prob=0.1", "model.config.attention_probs_dropout_prob=0.1"),
    *("trainer.accumulate_grad_batches=2", "trainer.num_workers=2", "trainer.checkpoint_every=3"),
    *("trainer.log_every_n_steps=1", "dense.num_epochs=1"),
]
RECIPES = {
    "prune": [  # pruning, distillation and quantisation
        *("recipe=prune80", "recipe.num_epochs=3", "teacher=dense", "recipe.distillation.hardness=0.5"),
        *("+modifier@recipe.quantization=quantization", "recipe.quantization.start_epoch=1"),
        "recipe.quantization.disable_observer_epoch=2",
    ],
    "fast": [  # two stages of removed heads and neurons, blocks of zeros in what stays, quantisation
        *("recipe=fast2_sparse", "recipe.num_epochs=4", "teacher=dense", "recipe.structure.latency=macs"),
        *("recipe.structure.stages=2", "recipe.structure.start_epoch=0.5", "recipe.structure.end_epoch=1.5"),
        *("recipe.structure.calibration_samples=64", "recipe.structure.restarts=2"),
        *("recipe.structure.target_speedup=3", "recipe.pruning.start_epoch=1.5", "recipe.pruning.end_epoch=2.5"),
        *("recipe.quantization.start_epoch=2.5", "recipe.quantization.disable_observer_epoch=3.5"),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the random steps")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=1, help="number of data-parallel processes")
    parser.add_argument("--recipe", choices=list(RECIPES), default="prune")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if kill_and_resume(Path(folder), **vars(options)) else 1)


def kill_and_resume(folder: Path, seed: int, kills: int, processes: int, recipe: str) -> bool:
    """True if every training that was killed and resumed is equal to the uninterrupted one."""
    review_tables(folder / "data", train=320, held_out=32)
    parallel = ["trainer=ddp", f"trainer.devices={processes}"] if processes > 1 else []
    shared = [*parallel, *SETTINGS, "trainer.accelerator=cpu", f"task.data.path={folder}/data"]
    shared.append(f"output_dir={folder}/outputs")
    wait(start(*shared, "recipe=dense", "recipe.num_epochs=1"))
    uninterrupted = folder / "uninterrupted"
    wait(start(*shared, *RECIPES[recipe], f"hydra.run.dir={uninterrupted}"))
    expected = final_state(uninterrupted)
    total = torch.load(uninterrupted / "checkpoints" / "last.ckpt")["global_step"]
    step_seconds = json.loads((uninterrupted / "result.json").read_text())["train_seconds"] / total

    generator, equal = random.Random(seed), 0
    for number in range(1, kills + 1):
        run = folder / f"run{number}"
        command = [*shared, *RECIPES[recipe], f"hydra.run.dir={run}"]
        step = generator.randrange(1, total)
        killed = kill_at(start(*command), run, step, step_seconds * generator.random())
        output = wait(start(*command, "resume=true"))
        resumed = next((line.lower() for line in output.splitlines() if line.startswith("Resumed at")), "started again")
        different = differences(final_state(run), expected)
        equal += not different
        print(f"{number} of {kills}: {killed}, {resumed}: {different[:3] if different else 'equal'}", flush=True)
    print(f"{equal} of {kills} equal")
    return equal == kills


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a training in a new process group."""
    return subprocess.Popen(
        [sys.executable, "-m", "src.train", *arguments],
        cwd=CONF.parent,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait(process: subprocess.Popen[str]) -> str:
    """Wait for a training; returns its output."""
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(f"the training failed:\n{output}")
    return output


def kill_at(process: subprocess.Popen[str], run: Path, step: int, pause: float) -> str:
    """Kill all processes of a training ``pause`` seconds after it has logged a step; returns a description."""
    while process.poll() is None and steps_logged(run) < step:
        time.sleep(0.002)
    time.sleep(pause)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    writing = any((run / "checkpoints").glob("*.partial"))
    return f"killed at step {steps_logged(run)}" + (" while writing a checkpoint" if writing else "")


def steps_logged(run: Path) -> int:
    try:
        rows = read_rows(run / METRICS)
    except FileNotFoundError:  # not written yet, or removed by a run that begins anew
        return 0
    return max((int(row["step"]) + 1 for row in rows if "train/loss" in row), default=0)


def final_state(run: Path) -> dict[str, Any]:
    """The part of a finished run that must not depend on how often it was killed."""
    last, best = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("last", "best"))
    result = json.loads((run / "result.json").read_text())
    return {
        **training_state(last),
        "best": best["state_dict"],
        **{name: result[name] for name in ("status", "metrics", "sparsity_by_layer")},
    }


def training_state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The state of a checkpoint, without paths and times."""
    callbacks = {name: state for name, state in checkpoint["callbacks"].items() if name != "RunCheckpoint"}
    for name, state in callbacks.items():
        if name.startswith("BestCheckpoint"):
            callbacks[name] = {key: state[key] for key in ("best_model_score", "current_score", "kth_value")}
    return {**checkpoint, "callbacks": callbacks}


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """The paths at which two nested states differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(name, one[name], other[name]) for name in one]
        return [found for name, a, b in pairs for found in differences(a, b, f"{path}/{name}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return differences(dict(enumerate(one)), dict(enumerate(other)), path)
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) else [path]
    return [] if one == other else [path]


if __name__ == "__main__":
    main()
