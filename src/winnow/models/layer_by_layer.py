"""Run the layers of an encoder one after another on some texts, and look at the inputs of its linear layers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from winnow.functional.layerwise_pruning import Inputs
from winnow.models.encoder_layers import layer_list

Batch = Mapping[str, Tensor]
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class LayerByLayer:
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
    def from_model(cls, model: nn.Module, batches: Iterable[Batch]) -> "LayerByLayer":
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
    def inputs(self, layer: nn.Module, whole: nn.Module, module: nn.Linear, other: nn.Module) -> Inputs:
        """Of a linear layer of the pruned encoder, with those that it has in the one before."""
        found = Inputs.of_width(module.in_features, module.weight.device)
        streams = self._inputs(layer, self.pruned, module), self._inputs(whole, self.whole, other)
        for tokens, *both in zip(self.tokens, *streams, strict=True):
            found.add(*(_rows(x, tokens) for x in both))
        return found

    def _inputs(self, layer: nn.Module, states: Sequence[Tensor], module: nn.Module) -> Iterator[Tensor]:
        """What a linear layer takes; the rest of the layer around it is not run."""
        seen: list[Tensor] = []

        def stop(module: nn.Module, inputs: tuple[Tensor]) -> None:
            seen.append(inputs[0])
            raise _Reached

        hook = module.register_forward_pre_hook(stop)
        for x, (args, kwargs) in zip(states, self.rest, strict=True):
            with suppress(_Reached):
                layer(x, *args, **kwargs)
            yield seen.pop()
        hook.remove()

    @torch.no_grad()
    def advance(self, layer: nn.Module, whole: nn.Module) -> None:
        self.pruned, self.whole = list(self._run(layer, self.pruned)), list(self._run(whole, self.whole))


def _rows(x: Tensor, tokens: Tensor) -> Tensor:
    """Without padding; all of them where a layer has other rows, such as the relative positions of DeBERTa."""
    return x[tokens] if x.shape[:2] == tokens.shape else x.flatten(end_dim=-2)


class _Reached(Exception):  # noqa: N818
    """The wanted module was reached."""
