"""Layer-wise second-order pruning: masks by the error of each layer's outputs, and a refit of the weights that stay."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from winnow.config.modifiers import LayerwisePruningSettings
from winnow.errors import UserError
from winnow.functional.layerwise_pruning import Inputs, LayerErrors
from winnow.functional.mask import pruning_mask
from winnow.models.encoder_layers import layer_list
from winnow.modifiers.calibration_texts import Batch, evaluating, some, training_batches
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.modifier import model_of
from winnow.tasks.task import Task

_MOST_TOKENS = 32_768  # of the calibration


class LayerwisePruning(MagnitudePruning):
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

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mapping[str, int] | None:
        if not self.is_update(step):
            return None
        model = model_of(pl_module)
        if trainer.is_global_zero:
            with evaluating(model):
                self._prune(model, training_batches(trainer), step)
        self._take_weights_of_the_first(trainer, model)
        masks = [weight != 0 for weight in self.masks.parameters.values()]
        return self.masks.update(masks, trainer.optimizers[0])

    def without_training(self, model: nn.Module, task: Task, batches: Iterable[Batch]) -> None:
        self._prune(model, batches, self.window.end)

    def _take_weights_of_the_first(self, trainer: pl.Trainer, model: nn.Module) -> None:
        if trainer.world_size > 1:
            for _, module in _names(model, self.masks.parameters):
                for parameter in (module.weight, module.bias):
                    parameter.data.copy_(trainer.strategy.broadcast(parameter.data))

    def _prune(self, model: nn.Module, batches: Iterable[Batch], step: int) -> None:
        sparsities = dict(zip(self.masks.parameters, self.sparsities_at(step), strict=True))
        modules = {module: sparsities[name] for name, module in _names(model, self.masks.parameters)}
        texts = some(batches, self.settings.calibration_samples, _MOST_TOKENS)
        stream = _Stream.into_the_layers(model, texts)
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
        module.bias.copy_(bias)


class _Stream:
    """The hidden states of some texts on their way through a pruned encoder and through the one before."""

    def __init__(
        self, calls: Sequence[tuple[Tensor, tuple[Any, ...], dict[str, Any]]], tokens: Sequence[Tensor]
    ) -> None:
        self.pruned = [call[0] for call in calls]
        self.whole = list(self.pruned)
        self.rest = [call[1:] for call in calls]
        self.tokens = tokens  # bool, (texts, length): without padding

    @classmethod
    @torch.no_grad()
    def into_the_layers(cls, model: nn.Module, batches: Iterable[Batch]) -> "_Stream":
        """The arguments of the first layer, of which the first are the hidden states."""
        device = next(model.parameters()).device
        calls, tokens = [], []

        def stop(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            named = dict(kwargs)
            states = args[0] if args else named.pop("hidden_states")
            calls.append((states, args[1:], named))
            raise _Reached

        hook = layer_list(model)[1][0].register_forward_pre_hook(stop, with_kwargs=True)
        for batch in batches:
            tokens.append(batch["attention_mask"].bool().to(device))
            with suppress(_Reached):
                model(**{name: x.to(device) for name, x in batch.items() if name in _INPUTS})
        hook.remove()
        return cls(calls, tokens)

    def _run(self, layer: nn.Module, states: Sequence[Tensor]) -> Iterator[Tensor]:
        for x, (args, kwargs) in zip(states, self.rest, strict=True):
            found = layer(x, *args, **kwargs)
            yield found if isinstance(found, Tensor) else found[0]

    @torch.no_grad()
    def groups(self, layer: nn.Module, modules: Mapping[nn.Module, float]) -> list[list[nn.Linear]]:
        """The linear layers to prune, in the order of their calls; those with the same inputs together."""
        found: list[tuple[Tensor, list[nn.Linear]]] = []

        def note(module: nn.Linear, inputs: tuple[Tensor]) -> None:
            if found and found[-1][0] is inputs[0]:
                found[-1][1].append(module)
            else:
                found.append((inputs[0], [module]))

        hooks = [module.register_forward_pre_hook(note) for module in layer.modules() if module in modules]
        next(self._run(layer, self.pruned))
        for hook in hooks:
            hook.remove()
        return [group for _, group in found]

    @torch.no_grad()
    def inputs(self, layer: nn.Module, whole: nn.Module, module: nn.Linear, other: nn.Linear) -> Inputs:
        """Of a linear layer of the pruned encoder, with those that it has in the one before."""
        found = Inputs.of_width(module.in_features, module.weight.device)
        seen: list[Tensor] = []
        hooks = [m.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for m in (module, other)]
        streams = self._run(layer, self.pruned), self._run(whole, self.whole)
        for tokens, _, _ in zip(self.tokens, *streams, strict=True):
            found.add(*(x[tokens] for x in seen))
            seen.clear()
        for hook in hooks:
            hook.remove()
        return found

    @torch.no_grad()
    def advance(self, layer: nn.Module, whole: nn.Module) -> None:
        self.pruned, self.whole = list(self._run(layer, self.pruned)), list(self._run(whole, self.whole))


class _Reached(Exception):  # noqa: N818
    """The first layer was reached."""


_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def _names(model: nn.Module, weights: Mapping[str, nn.Parameter]) -> Iterator[tuple[str, nn.Linear]]:
    for name in weights:
        module = model.get_submodule(name.removesuffix(".weight"))
        assert isinstance(module, nn.Linear)
        yield name, module
