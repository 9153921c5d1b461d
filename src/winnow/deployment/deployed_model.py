"""A deployed graph where a model of PyTorch is expected."""

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from winnow.deployment.engines import Engine, open_engine
from winnow.deployment.folder import GRAPH, read_deployment


def deployed_model(folder: Path, engine: str) -> "DeployedModel":
    """The graph of a deployment folder, or of a run that has one."""
    deployment = read_deployment(folder)
    graph = open_engine(engine, deployment.folder / GRAPH)
    return DeployedModel(graph, deployment.batch_size, deployment.sequence_length)


class DeployedModel(nn.Module):
    """Runs a graph; batches are brought into its shape where that is fixed.

    Args:
        engine: that has opened the graph.
        batch_size: rows that the graph is fixed to, or None for any.
        sequence_length: tokens that it is fixed to, or None for any.
    """

    def __init__(self, engine: Engine, batch_size: int | None = None, sequence_length: int | None = None) -> None:
        super().__init__()
        self.engine = engine
        self.batch_size = batch_size
        self.sequence_length = sequence_length

    def forward(self, **inputs: Tensor) -> SimpleNamespace:
        """What a model says, under the same names; tokens that were filled in are cut off again.

        Args:
            inputs: int64, ``(batch, tokens)`` each, no longer than the graph.
        """
        rows, tokens = inputs["input_ids"].shape
        size = self.batch_size or rows
        parts = [self._run({name: v[i : i + size] for name, v in inputs.items()}) for i in range(0, rows, size)]
        said = {name: torch.cat([part[name] for part in parts]) for name in self.engine.outputs}
        length = self.sequence_length
        # without a fixed length nothing was filled in; outputs for a whole text have no tokens to cut
        return SimpleNamespace(**{
            name: values[:, :tokens] if length and values.ndim > 1 and values.shape[1] == length else values
            for name, values in said.items()
        })  # fmt: skip

    def _run(self, part: dict[str, Tensor]) -> dict[str, Tensor]:
        rows, tokens = part["input_ids"].shape
        missing = (self.batch_size or rows) - rows, (self.sequence_length or tokens) - tokens
        filled = {name: pad(part[name], (0, missing[1], 0, missing[0])).cpu() for name in self.engine.inputs}
        found = self.engine.run({name: value.numpy() for name, value in filled.items()})
        device = part["input_ids"].device
        return {name: torch.from_numpy(values[:rows]).to(device) for name, values in found.items()}
