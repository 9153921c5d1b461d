"""Random trainings and sweeps of seconds, on generated reviews."""

from random import Random

_SHARED = [
    *("task=text_classification", "task.data.batch_size=8", "model=tiny", "model.config.hidden_size=64"),
    *("model.config.hidden_dropout_prob=0.1", "model.config.attention_probs_dropout_prob=0.1"),
    *("trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "dense.num_epochs=2"),
]
_NO_HIDDEN_STATES = "~recipe.hidden_distillation"  # so the teacher's outputs come from the cache
# Pruning, quantisation, distillation; what measures latency is counted instead, so that two runs are equal.
_RECIPES = [
    ["dense"],
    ["prune80", "recipe.pruning.calibration_samples=32"],
    ["prune80", "recipe.pruning.calibration_samples=32", _NO_HIDDEN_STATES],
    ["prune80_quant", "recipe.pruning.calibration_samples=32"],
    ["prune80_block4_quant", "recipe.pruning.calibration_samples=32", _NO_HIDDEN_STATES],
    ["gmp80", "recipe.pruning.structure=2:4", "recipe.pruning.final_sparsity=0.5"],
    ["obs80", "recipe.pruning.gradients=32"],
    ["movement80"],
    ["acdc80"],
    ["cyclic80"],
    ["quant"],
    ["layers1_prune60", "recipe.pruning.calibration_samples=32"],
    [
        "fast2",
        "recipe.structure.latency=macs",
        "recipe.structure.calibration_samples=32",
        "recipe.structure.restarts=1",
    ],
]


def training(random: Random) -> list[str]:
    """A training that ends with an export; one in eight is data-parallel."""
    parallel = random.random() < 1 / 8
    recipe = _recipe(random, epochs=random.choice([2, 3]))
    teachers = ["none", "dense", "dense"]
    if recipe[0] == "recipe=fast2":
        teachers = ["dense"]  # what goes is chosen by the outputs of a trained model
    return [
        *recipe,
        *_loop(random),
        f"teacher={random.choice(teachers)}",
        f"trainer.num_workers={random.choice([0, 1])}",
        *(["trainer=ddp", "trainer.devices=2"] if parallel else []),
        "export=onnx",
    ]


def sweep(random: Random) -> list[str]:
    """A sweep of three trainings or five, two of which have the dense training as their teacher."""
    recipes = random.sample(["oneshot80", "gmp80", "movement80", "acdc80", "quant"], random.choice([1, 2]))
    launcher = random.choice([[], [], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
    return [
        *("-m", f"recipe={','.join(['dense', *recipes])}", "teacher=none,dense", "seed=1", "recipe.num_epochs=2"),
        *_loop(random),
        *launcher,
    ]


def _recipe(random: Random, epochs: int) -> list[str]:
    name, *settings = random.choice(_RECIPES)
    return [f"recipe={name}", *settings, f"recipe.num_epochs={epochs}"]


def _loop(random: Random) -> list[str]:
    return [
        *_SHARED,
        f"trainer.accumulate_grad_batches={random.choice([1, 2])}",
        f"trainer.checkpoint_every={random.choice([2, 3, 7])}",
    ]
