"""Layer dropping: a shallower model, cut before the training starts."""

from collections.abc import Iterator, Sequence

import pytorch_lightning as pl
from torch import nn

from winnow.errors import UserError
from winnow.models.encoder_layers import keep_layers, kept_layers, layer_list
from winnow.modifiers.modifier import Event, Modifier
from winnow.modifiers.patterns import matching
from winnow.ranges import check_range


class LayerDropping(Modifier):
    """Remove encoder layers for good; the training recovers accuracy (Sanh et al. 2019, arXiv:1910.01108, section 3).

    The layers are gone from the model and from its configuration. Exactly one of ``keep`` and ``drop`` is given.

    Args:
        keep: so many layers, evenly spread from the first to the last; or a list of layers, counted from 0.
        drop: a list of layers, or of regular expressions that match names such as bert.encoder.layer.5 whole.
    """

    order = -50  # before anything that acts on parameters

    def __init__(
        self, *, name: str, keep: int | Sequence[int] | None = None, drop: Sequence[int | str] | None = None
    ) -> None:
        super().__init__(name=name)
        if (keep is None) == (drop is None):
            raise UserError(f"{name} needs one of keep and drop, such as {name}.keep=6; got {_both(keep, drop)}.")
        check_range("keep", keep)
        check_range("drop", drop)
        self.keep = keep
        self.drop = drop

    def match(self, model: nn.Module) -> None:
        kept = self._chosen(model)
        keep_layers(model, kept)
        self.kept, self.count = kept_layers(model)

    def _chosen(self, model: nn.Module) -> list[int]:
        """The layers to keep, in ascending order, of those that there were."""
        count = kept_layers(model)[1]
        if isinstance(self.keep, int):
            chosen = set(evenly_spread(min(self.keep, count), count))
        elif self.keep is not None:
            chosen = self._existing(self.keep, count)
        else:
            chosen = set(range(count)) - self._dropped(layer_list(model)[0], count)
        if len(chosen) == count:
            raise UserError(f"{self._given()} drops none of the {count} layers of the model; keep fewer.")
        if not chosen:
            raise UserError(f"{self._given()} drops all {count} layers of the model; keep one at least.")
        return sorted(chosen)

    def _dropped(self, list_name: str, count: int) -> set[int]:
        assert self.drop is not None
        names = {f"{list_name}.{i}": i for i in range(count)}
        patterns = [pattern for pattern in self.drop if isinstance(pattern, str)]
        hits = matching(patterns, names, setting=f"{self.name}.drop", kind="layers")
        return {names[hit] for hit in hits} | self._existing([i for i in self.drop if isinstance(i, int)], count)

    def _existing(self, layers: Sequence[int], count: int) -> set[int]:
        for i in layers:
            if i >= count:
                raise UserError(f"{self._given()}: there is no layer {i}; the model has layers 0 to {count - 1}.")
        return set(layers)

    def _given(self) -> str:
        return f"{self.name}.{_both(self.keep, self.drop)}"

    def _change(self) -> str:
        dropped = [str(i) for i in range(self.count) if i not in self.kept]
        return f"drops {'layers' if len(dropped) > 1 else 'layer'} {', '.join(dropped)} of {self.count}"

    def events(self) -> Iterator[Event]:
        yield Event(0, self._change())

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if step == 0:  # it happened when the layers were matched
            self.report(trainer, pl_module, self._change())


def evenly_spread(kept: int, count: int) -> list[int]:
    """So many of ``count`` layers, the first and the last among them; a single one is the first.

    6 of 12 are 0, 2, 4, 7, 9, 11, as in DistilBERT (Sanh et al. 2019).
    """
    return [round(i * (count - 1) / max(1, kept - 1)) for i in range(kept)]


def _both(keep: int | Sequence[int] | None, drop: Sequence[int | str] | None) -> str:
    given = {"keep": keep, "drop": drop}
    return " and ".join(f"{key}={value}" for key, value in given.items() if value is not None) or "neither"
