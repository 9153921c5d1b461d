"""Run the layers of an encoder one after another on some texts, and look at the inputs of its linear layers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from winnow.errors import UserError
from winnow.functional.layerwise_pruning import Inputs
from winnow.models.encoder_layers import layer_list

Batch = Mapping[str, Tensor]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class LayerByLayer:
    """The hidden states of some texts on their way through a pruned encoder and through the one before.

    Args:
        states: those that the first layer takes, of each batch.
        rest: its other arguments, of each batch; by the kind of attention of a layer.
        tokens: bool, (texts, length): without padding, of each batch.
    """

    def __init__(
        self, states: Sequence[Tensor], rest: Mapping[str, Sequence[Arguments]], tokens: Sequence[Tensor]
    ) -> None:
        self.pruned = list(states)
        self.whole = list(states)
        self.rest = rest
        self.tokens = tokens

    @classmethod
    @torch.no_grad()
    def from_model(cls, model: nn.Module, batches: Iterable[Batch]) -> "LayerByLayer":
        """The arguments of the first layer, and those of the first layer of each kind of attention.

        Raises:
            UserError: for a model that changes the hidden states between its layers.
        """
        device = next(model.parameters()).device
        layers = layer_list(model)[1]
        first = {_attention(layer): layer for layer in reversed(list(layers))}
        states: list[Tensor] = []
        tokens: list[Tensor] = []
        rest: dict[str, list[Arguments]] = {kind: [] for kind in first}

        def note(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if layer is layers[0]:
                states.append(_taken(args, kwargs))
            named = {name: value for name, value in kwargs.items() if name != "hidden_states"}
            rest[_attention(layer)].append((args[1:], named))
            if all(len(calls) == len(states) for calls in rest.values()):
                raise _Reached

        for batch in batches:
            inputs = {name: x.to(device) for name, x in batch.items() if name in _INPUTS}
            if not tokens:
                _check_chain(model, layers, inputs)
            tokens.append(batch["attention_mask"].bool().to(device))
            hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in first.values()]
            with suppress(_Reached):
                model(**inputs)
            for hook in hooks:
                hook.remove()
        return cls(states, rest, tokens)

    def _run(self, layer: nn.Module, states: Sequence[Tensor]) -> Iterator[Tensor]:
        for x, (args, kwargs) in zip(states, self.rest[_attention(layer)], strict=True):
            yield _returned(layer(x, *args, **kwargs))

    @torch.no_grad()
    def groups(self, layer: nn.Module, modules: Mapping[nn.Module, float]) -> list[list[nn.Linear]]:
        """The linear layers to prune, in the order of their first calls; those with the same inputs together."""
        found: list[tuple[Tensor, list[nn.Linear]]] = []

        def note(module: nn.Linear, inputs: tuple[Tensor]) -> None:
            if any(module in group for _, group in found):
                return  # as DeBERTa-v3 calls two of them again, with its relative positions
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
        for x, (args, kwargs) in zip(states, self.rest[_attention(layer)], strict=True):
            with suppress(_Reached):
                layer(x, *args, **kwargs)
            yield seen.pop()
        hook.remove()

    @torch.no_grad()
    def advance(self, layer: nn.Module, whole: nn.Module) -> None:
        self.pruned, self.whole = list(self._run(layer, self.pruned)), list(self._run(whole, self.whole))


def _check_chain(model: nn.Module, layers: nn.ModuleList, inputs: Batch) -> None:
    taken: list[Tensor] = []
    returned: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, named: taken.append(_taken(args, named)), with_kwargs=True)
        for layer in layers
    ]
    hooks += [layer.register_forward_hook(lambda _, args, found: returned.append(_returned(found))) for layer in layers]
    model(**inputs)
    for hook in hooks:
        hook.remove()
    if any(x is not before for x, before in zip(taken[1:], returned, strict=False)):
        raise UserError(
            f"{type(model).__name__} changes the hidden states between its layers, which cannot be pruned one after "
            "another then; choose another recipe, such as gmp80."
        )


def _taken(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The hidden states among the arguments of a layer."""
    states: Tensor = args[0] if args else kwargs["hidden_states"]
    return states


def _returned(found: Any) -> Tensor:
    """The hidden states in what a layer returns."""
    return found if isinstance(found, Tensor) else found[0]


def _attention(layer: nn.Module) -> str:
    """The kind of a layer's attention, which other arguments belong to; '' where all layers have the same."""
    return str(getattr(layer, "attention_type", ""))


def _rows(x: Tensor, tokens: Tensor) -> Tensor:
    """Without padding; all of them where a layer has other rows, such as the relative positions of DeBERTa."""
    return x[tokens] if x.shape[:2] == tokens.shape else x.flatten(end_dim=-2)


class _Reached(Exception):  # noqa: N818
    """The wanted module was reached."""
