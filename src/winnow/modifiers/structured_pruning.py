"""Structured pruning: remove heads and neurons until the model is as fast as asked for."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn

from winnow.config.modifiers import StructureSettings
from winnow.errors import UserError
from winnow.functional.latency_table import LatencyTable
from winnow.models.encoder_layers import kept_layers
from winnow.models.structures import kept_structures, listed_structures, remove_structures
from winnow.modifiers.calibration_texts import training_batches
from winnow.modifiers.clock import Clock
from winnow.modifiers.modifier import Event, Modifier, model_of, modifiers_of
from winnow.modifiers.structure_choice import Choice, apply_choice, choose_structures, sizes
from winnow.tasks.task import Task


class StructuredPruning(Modifier[StructureSettings]):
    """Remove heads and neurons in stages until the model is ``target_speedup`` times as fast as the dense float32 one.

    At each stage the structures to keep are chosen by `winnow.modifiers.structure_choice.choose_structures` and the
    others are removed, so that training becomes faster too. The LightningModule has a ``task``. Before the first step
    ``table`` must be set to the latency of the model by its heads and neurons.
    """

    Settings = StructureSettings
    order = -40  # after layer dropping, before anything that acts on weights

    def __init__(self, *, name: str | None = None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self._table: LatencyTable | None = None
        self._stages: list[dict[str, Any]] = []  # what each stage has chosen, as structure.json lists it

    def use(self, table: LatencyTable) -> None:
        """Take the latency of the model by its heads and neurons, before the training."""
        self._table = table

    @property
    def table(self) -> LatencyTable:
        assert self._table is not None, "use() was not called"
        return self._table

    def match(self, model: nn.Module) -> None:
        self._note(model)
        self._before = sizes(self.kept)
        self.layers, self._dense_layers = len(self._before), kept_layers(model)[1]

    def _note(self, model: nn.Module) -> None:
        self.kept = kept_structures(model)
        self._listed = listed_structures(model)

    def begin(self, clock: Clock) -> None:
        super().begin(clock)
        start, end, every = self.settings.window()
        epochs = [start + i * every for i in range(self.settings.stages - 1)] if every else []
        self.stages = sorted({clock.step(epoch) for epoch in (*epochs, end)})
        if self._table is not None:  # not in a rehearsal
            self._refuse_out_of_reach(self._table)

    def reach(self) -> tuple[float, float]:
        """The speedup of the model before the first stage, and of one without any heads and neurons."""
        return self.table.speedup(self._before), self.table.highest_speedup(self.layers)

    def _refuse_out_of_reach(self, table: LatencyTable) -> None:
        fastest, asked = table.highest_speedup(self.layers), self.settings.target_speedup
        if fastest <= asked:
            raise UserError(
                f"recipe.{self.name}.target_speedup={asked:g} is out of reach: without any heads and neurons the model "
                f"would be {fastest:.3g} times as fast as the dense float32 model. Ask for less, or drop layers too."
            )

    def exclusive_targets(self) -> set[str]:
        weights = [name for block in self.kept for name in (*block.inputs, block.output)]
        return {f"the zeros of {name}.weight" for name in weights} | {"quantisation"}

    def events(self) -> Iterator[Event]:
        for step in self.stages:
            yield Event(step, self._change(step))

    def _change(self, step: int) -> str:
        if step == self.stages[-1]:
            return f"removes heads and neurons for a speedup of {self.settings.target_speedup:g}"
        return f"removes heads and neurons, stage {self.stages.index(step) + 1} of {len(self.stages)}"

    def targets(self) -> list[float]:
        """The speedup after each stage, in geometric steps from that of the whole model."""
        first, last, count = self.table.speedup(self._before), self.settings.target_speedup, len(self.stages)
        return [first * (last / first) ** ((i + 1) / count) for i in range(count)] if first < last else [last] * count

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._table is None:
            raise UserError(
                f"{self.name} removes heads and neurons by a measured latency, which only `winnow train` and "
                "`winnow.train` measure."
            )
        super().setup(trainer, pl_module, stage)
        pl_module.register_buffer(self._buffer, self._mask())

        def before_loading(module: nn.Module, state: Mapping[str, Tensor], prefix: str, *args: Any) -> None:
            mask = state.get(prefix + self._buffer)
            if mask is not None and not torch.equal(mask.cpu(), self._mask()):
                self._keep(trainer, pl_module, mask.tolist())

        module: Any = pl_module  # torch declares no type for the hook
        self._hook = module.register_load_state_dict_pre_hook(before_loading)

    @property
    def _buffer(self) -> str:
        """Of the LightningModule: a state dict says which structures its weights are of."""
        return f"{self.name}_kept"

    def _mask(self) -> Tensor:
        """True for each structure of the stock model that is kept, of all blocks in order."""
        masks = [torch.zeros(block.count, dtype=torch.bool) for block in self.kept]
        for mask, numbers in zip(masks, self.kept.values(), strict=True):
            mask[list(numbers)] = True
        return torch.cat(masks)

    def _keep(self, trainer: pl.Trainer, pl_module: pl.LightningModule, mask: list[bool]) -> None:
        """Remove all structures but those of a mask, in the model and for all other modifiers."""
        model, parts = model_of(pl_module), iter(mask)
        remove_structures(model, {b: [i for i in range(b.count) if next(parts)] for b in self.kept})
        self._note(model)
        pl_module.get_buffer(self._buffer).copy_(self._mask())
        for other in modifiers_of(trainer):
            if other is not self:
                other.structure_changed(model)

    def at_step(self, step: int, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if step not in self.stages:
            return
        model = model_of(pl_module)
        if trainer.is_global_zero:
            batches = training_batches(trainer)
            apply_choice(model, self._choose(model, cast(Task, pl_module.task), batches, self.stages.index(step)))
            self._note(model)
        self._keep(trainer, pl_module, trainer.strategy.broadcast(self._mask().tolist()))
        _forget(trainer.optimizers[0], pl_module)
        if isinstance(trainer.strategy, DDPStrategy):  # all processes take the new shapes and the weights of the first
            trainer.strategy.model = pl_module
            trainer.strategy.configure_ddp()

    def _choose(self, model: nn.Module, task: Task, batches: Iterable[Mapping[str, Tensor]], stage: int) -> Choice:
        choice = choose_structures(
            model,
            task,
            batches,
            self.table,
            target_speedup=self.targets()[stage],
            samples=self.settings.calibration_samples,
            restarts=self.settings.restarts,
        )
        heads, neurons = (sum(counts) for counts in zip(*sizes(choice.kept), strict=True))
        all_heads, all_neurons = (sum(counts) for counts in zip(*self._before, strict=True))
        print(
            f"{self.name}: {heads} of {all_heads} heads and {neurons:,} of {all_neurons:,} neurons stay, "
            f"{choice.speedup:.3g} times as fast as the dense float32 model by the latency table "
            f"({', '.join([choice.source, *(f'{part} {seconds:.0f} s' for part, seconds in choice.seconds.items())])})",
            flush=True,
        )
        stay = {"heads": [h for h, _ in sizes(choice.kept)], "neurons": [n for _, n in sizes(choice.kept)]}
        facts = {"predicted_speedup": choice.speedup, "divergence": choice.divergence, "source": choice.source}
        self._stages.append({"target_speedup": self.targets()[stage], **facts, **stay})
        return choice

    def without_training(self, model: nn.Module, task: Task, batches: Iterable[Mapping[str, Tensor]]) -> None:
        apply_choice(model, self._choose(model, task, batches, len(self.stages) - 1))
        self._note(model)

    def is_settled(self, step: int) -> bool:
        return step >= self.stages[-1]

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._hook.remove()

    def check_model(self) -> None:
        found, asked = self.table.speedup(sizes(self.kept)), self.settings.target_speedup
        if found < asked * (1 - 1e-9):
            raise RuntimeError(f"{self.name}: the model is {found:.4g} times as fast by its table, asked is {asked:g}")

    def facts(self) -> dict[str, Any]:
        stay = sizes(self.kept)
        return {
            "structure": {
                **self.settings.conditions,
                "predicted_speedup": self.table.speedup(stay),
                "dense": {"layers": self._dense_layers},
                "heads": [heads for heads, _ in stay],
                "neurons": [neurons for _, neurons in stay],
            }
        }

    def files(self) -> dict[str, Any]:
        counts = {f"all_{block.kind}": block.count for block in self.kept}
        return {"structure.json": {**self.facts()["structure"], **counts, "stages": self._stages, **self._listed}}

    def own_state(self) -> dict[str, Any]:
        return {"stages": self._stages}

    def load_own_state(self, state: dict[str, Any]) -> None:
        self._stages = list(state["stages"])


def _forget(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Leave parameters that the model no longer has out of an optimizer, and forget the moments of other shapes."""
    left = {id(parameter) for parameter in model.parameters()}
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) in left]
    for parameter, state in list(optimizer.state.items()):
        moments = [value for value in state.values() if isinstance(value, Tensor) and value.dim()]
        if id(parameter) not in left or any(moment.shape != parameter.shape for moment in moments):
            del optimizer.state[parameter]
