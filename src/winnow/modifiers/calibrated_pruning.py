"""What layer-wise and second-order pruning have in common."""

from collections.abc import Iterable, Mapping

import pytorch_lightning as pl
from torch import nn

from winnow.models.finite import check_weights
from winnow.modifiers.calibration_texts import Batch, evaluating, training_batches
from winnow.modifiers.gmp import G, MagnitudePruning
from winnow.modifiers.modifier import model_of, objective_of
from winnow.tasks.objective import Objective


class CalibratedPruning(MagnitudePruning[G]):
    """Prune along the ramp of `MagnitudePruning` by training examples, and change the weights that stay too.

    A subclass defines `prune`. Of several processes the first one prunes, and the others take its weights.
    """

    def prune(self, model: nn.Module, task: Objective, batches: Iterable[Batch], step: int) -> None:
        """Set the weights of a model in evaluation mode, those that are pruned at this step to 0."""
        raise NotImplementedError

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mapping[str, int] | None:
        if not self.is_update(step):
            return None
        model = model_of(pl_module)
        check_weights(model, f"{self.name}: the model", "train in float32, or with a smaller learning rate")
        if trainer.is_global_zero:
            with evaluating(model):
                self.prune(model, objective_of(pl_module), training_batches(trainer), step)
        if trainer.world_size > 1:
            for name in self.masks.parameters:
                for parameter in model.get_submodule(name.removesuffix(".weight")).parameters():
                    parameter.data.copy_(trainer.strategy.broadcast(parameter.data))
        masks = [weight != 0 for weight in self.masks.parameters.values()]
        return self.masks.update(masks, trainer.optimizers[0])
