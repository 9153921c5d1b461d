"""Layer-wise second-order pruning: masks by the error of each layer's outputs, and a refit of the weights that stay."""

import copy
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn

from winnow.config.modifiers import LayerwisePruningSettings
from winnow.errors import UserError
from winnow.functional.layerwise_pruning import Inputs, LayerErrors
from winnow.functional.mask import pruning_mask
from winnow.models.encoder_layers import layer_list
from winnow.models.layer_by_layer import LayerByLayer
from winnow.modifiers.calibrated_pruning import CalibratedPruning
from winnow.modifiers.calibration_texts import Batch, some_batches
from winnow.tasks.objective import Objective
from winnow.tasks.task import Task

_MOST_TOKENS = 32_768  # of the calibration


class LayerwisePruning(CalibratedPruning[LayerwisePruningSettings]):
    """Prune along the ramp of `MagnitudePruning`; the weights that stay make up for those that go.

    At each update the encoder is pruned layer after layer. The Hessian of a linear layer is that of its inputs in the
    model pruned so far, and its wanted outputs are those in the model before the update, so that a layer also makes up
    for the errors of those below it. Weights of the smallest w^2 / [H^-1]_ii are pruned (Optimal Brain Surgeon; for
    layers OBC, Frantar & Alistarh 2022, arXiv:2208.11580), and all others of a row are refitted in closed form.
    """

    Settings = LayerwisePruningSettings

    def match(self, model: nn.Module) -> None:
        super().match(model)
        name, _ = layer_list(model)
        outside = [weight for weight in self.masks.parameters if not weight.startswith(f"{name}.")]
        if outside:
            raise UserError(
                f"{self.name} prunes weights of the encoder's layers, and {outside[0]} is none; set params."
            )

    def cost(self) -> str:
        return f"the inputs of all layers for up to {self.settings.calibration_samples:,} examples, and a refit"

    def without_training(self, model: nn.Module, task: Task, batches: Iterable[Batch]) -> None:
        self.prune(model, task, batches, self.window.end)

    def prune(self, model: nn.Module, task: Objective, batches: Iterable[Batch], step: int) -> None:
        sparsities = dict(zip(self.masks.parameters, self.sparsities_at(step), strict=True))
        modules: dict[nn.Module, float] = {m: sparsities[name] for name, m in _names(model, self.masks.parameters)}
        texts = some_batches(batches, self.settings.calibration_samples, _MOST_TOKENS)
        stream = LayerByLayer.from_model(model, texts)
        for layer in layer_list(model)[1]:
            whole = copy.deepcopy(layer)
            others = dict(zip(layer.modules(), whole.modules(), strict=True))
            for group in stream.groups(layer, modules):
                inputs = stream.inputs(layer, whole, group[0], others[group[0]])
                for module in group:
                    self._prune_module(module, inputs, modules[module])
            stream.advance(layer, whole)

    @torch.no_grad()
    def _prune_module(self, module: nn.Linear, inputs: Inputs, sparsity: float) -> None:
        errors = LayerErrors(module.weight, module.bias, inputs)
        scores = errors.scores(module.weight, self.structure.block)
        keep = pruning_mask(scores.float(), sparsity, self.structure)
        weight, bias = errors.refit(keep)
        module.weight.copy_(weight)
        if module.bias is not None:
            module.bias.copy_(bias)


def _names(model: nn.Module, weights: Mapping[str, nn.Parameter]) -> Iterator[tuple[str, nn.Linear]]:
    for name in weights:
        module = model.get_submodule(name.removesuffix(".weight"))
        assert isinstance(module, nn.Linear)
        yield name, module
