"""Random generators whose state a resumed run restores; Lightning restores none."""

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from winnow.errors import UserError


class RandomState(pl.Callback):
    """Keep the state of every random generator of every process in the checkpoint.

    A training of any LightningModule that is resumed after an epoch then draws the numbers of one that was not stopped.
    """

    def __init__(self) -> None:
        self._restored: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not earlier: before that a resumed run draws other numbers than the first; and not later: a loader that
        # shuffles draws before `on_train_start`.
        if not self._restored:
            return
        if len(self._restored) != trainer.world_size:
            raise UserError(
                f"resume=true: the run had {len(self._restored)} processes and now has {trainer.world_size}; "
                "give it as many devices as before."
            )
        set_random_state(self._restored[trainer.global_rank])

    def state_dict(self) -> dict[str, Any]:
        """Called in every process when a checkpoint is saved."""
        states: list[Any] = [random_state()]
        if torch.distributed.is_initialized():
            states = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, random_state())
        return {"processes": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict["processes"]


def random_state() -> dict[str, Any]:
    """The state of the generators of torch, Python and NumPy, in types that ``weights_only=True`` reads."""
    legacy: Any = np.random.get_state(legacy=False)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if _uses_cuda() else None,
        "python": random.getstate(),
        "numpy": legacy | {"state": {"key": legacy["state"]["key"].tolist(), "pos": legacy["state"]["pos"]}},
    }


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch has no type for it


def set_random_state(state: dict[str, Any]) -> None:
    """Return to the state that `random_state` gave."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
