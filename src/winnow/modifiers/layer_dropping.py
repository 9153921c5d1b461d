"""Layer dropping: a shallower model, cut before the training starts."""

from collections.abc import Iterator, Sequence

from torch import nn

from winnow.config.modifiers import LayerDroppingSettings
from winnow.errors import UserError
from winnow.models.encoder_layers import keep_layers, kept_layers, layer_list
from winnow.modifiers.modifier import Event, Modifier
from winnow.modifiers.patterns import matching


class LayerDropping(Modifier[LayerDroppingSettings]):
    """Remove encoder layers before the training, which recovers accuracy (Sanh et al. 2019, arXiv:1910.01108, 3).

    The model's configuration has the new number of layers.
    """

    Settings = LayerDroppingSettings
    order = -50  # before anything that acts on parameters

    def match(self, model: nn.Module) -> None:
        kept = self._chosen(model)
        keep_layers(model, kept)
        self.kept, self.count = kept_layers(model)

    def _chosen(self, model: nn.Module) -> list[int]:
        """The layers to keep, in ascending order."""
        keep, drop = self.settings.keep, self.settings.drop
        count = kept_layers(model)[1]
        if isinstance(keep, int):
            chosen = set(evenly_spread(min(keep, count), count))
        elif keep is not None:
            chosen = self._existing(keep, count)
        else:
            chosen = set(range(count)) - self._dropped(drop or [], layer_list(model)[0], count)
        if len(chosen) == count:
            raise UserError(f"{self._given()} drops none of the {count} layers of the model; keep fewer.")
        if not chosen:
            raise UserError(f"{self._given()} drops all {count} layers of the model; keep at least one.")
        return sorted(chosen)

    def _dropped(self, drop: Sequence[int | str], list_name: str, count: int) -> set[int]:
        names = {f"{list_name}.{i}": i for i in range(count)}
        patterns = [pattern for pattern in drop if isinstance(pattern, str)]
        hits = matching(patterns, names, setting=f"{self.name}.drop", kind="layers")
        return {names[hit] for hit in hits} | self._existing([i for i in drop if isinstance(i, int)], count)

    def _existing(self, layers: Sequence[int], count: int) -> set[int]:
        for i in layers:
            if i >= count:
                raise UserError(f"{self._given()}: there is no layer {i}; the model has layers 0 to {count - 1}.")
        return set(layers)

    def _given(self) -> str:
        choice = "keep" if self.settings.keep is not None else "drop"
        return f"{self.name}.{choice}={getattr(self.settings, choice)}"

    def events(self) -> Iterator[Event]:
        dropped = [str(i) for i in range(self.count) if i not in self.kept]
        layers = "layers" if len(dropped) > 1 else "layer"
        yield Event(0, f"drops {layers} {', '.join(dropped)} of {self.count}")  # done by ``match``


def evenly_spread(kept: int, count: int) -> list[int]:
    """``kept`` of ``count`` layers, evenly spread from the first to the last; a single one is the first.

    6 of 12 are 0, 2, 4, 7, 9, 11, as in DistilBERT (Sanh et al. 2019).
    """
    return [round(i * (count - 1) / max(1, kept - 1)) for i in range(kept)]
