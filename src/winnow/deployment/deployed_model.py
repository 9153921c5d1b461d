"""A deployed graph as a PyTorch module."""

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from winnow.deployment.choice import open_deployed
from winnow.deployment.engines import Engine
from winnow.deployment.folder import read_deployment


def deployed_model(folder: Path, engine: str) -> "DeployedModel":
    """The graph of a deployment folder, or of a run that has one, in an engine or in the one that ``auto`` chooses."""
    deployment = read_deployment(folder)
    graph = open_deployed(deployment.folder, engine)
    return DeployedModel(graph, deployment.batch_size, deployment.sequence_length)


class DeployedModel(nn.Module):
    """Runs a graph; batches are split and padded to its shape if that is fixed.

    Args:
        engine: with the graph.
        batch_size: fixed rows of the graph, or None for any.
        sequence_length: fixed tokens of the graph, or None for any.
    """

    def __init__(self, engine: Engine, batch_size: int | None = None, sequence_length: int | None = None) -> None:
        super().__init__()
        self.engine = engine
        self.batch_size = batch_size
        self.sequence_length = sequence_length

    def forward(self, **inputs: Tensor) -> SimpleNamespace:
        """The outputs of the graph by name, without padding that was added here.

        Args:
            inputs: int64, ``(batch, tokens)`` each, at most as long as the graph allows.
        """
        rows, tokens = inputs["input_ids"].shape
        size = self.batch_size or rows
        parts = [self._run({name: v[i : i + size] for name, v in inputs.items()}) for i in range(0, rows, size)]
        outputs = {name: torch.cat([part[name] for part in parts]) for name in self.engine.outputs}
        length = self.sequence_length
        # without a fixed length no token was added; outputs for a whole text have no tokens to remove
        return SimpleNamespace(**{
            name: values[:, :tokens] if length and values.ndim > 1 and values.shape[1] == length else values
            for name, values in outputs.items()
        })  # fmt: skip

    def _run(self, part: dict[str, Tensor]) -> dict[str, Tensor]:
        rows, tokens = part["input_ids"].shape
        missing = (self.batch_size or rows) - rows, (self.sequence_length or tokens) - tokens
        padded = {name: pad(part[name], (0, missing[1], 0, missing[0])).cpu() for name in self.engine.inputs}
        outputs = self.engine.run({name: value.numpy() for name, value in padded.items()})
        device = part["input_ids"].device
        return {name: torch.from_numpy(values[:rows]).to(device) for name, values in outputs.items()}
