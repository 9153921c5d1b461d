"""The ``trainer`` section: how a run is computed."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from winnow.config.section import Section, broken_rule
from winnow.values import Count, CountOrNull, Expected, YesNo, one_of

_PRECISIONS = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}  # Lightning's short words


def _full_word(precision: Any) -> Any:
    return _PRECISIONS.get(str(precision), precision) if isinstance(precision, str | int) else precision


_ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
_STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
Accelerator = Annotated[Literal["auto", "cpu", "gpu", "cuda", "mps"], one_of(*_ACCELERATORS)]
Strategy = Annotated[Literal["auto", "ddp", "ddp_find_unused_parameters_true"], one_of(*_STRATEGIES)]
Precision = Annotated[
    Literal["auto", "bf16-mixed", "16-mixed", "32-true"],
    BeforeValidator(_full_word),
    one_of("auto", "bf16-mixed", "16-mixed", "32-true", "or in short bf16, 16, 32"),
]
Devices = Annotated[
    Annotated[int, Field(ge=1, le=1024)] | Literal["auto"], Expected("auto or a whole number, 1 to 1024")
]
Workers = Annotated[Annotated[int, Field(ge=0, le=256)] | Literal["auto"], Expected("auto or a whole number, 0 to 256")]
Batches = Annotated[
    Annotated[int, Field(ge=1, lt=2**31)] | Annotated[float, Field(gt=0, le=1)] | None,
    Expected("null, a fraction above 0 and at most 1, or a whole number of batches"),
]
MicroBatchSize = Annotated[
    Annotated[int, Field(ge=1, lt=2**31)] | Literal["auto"] | None,
    Expected("null, auto or a whole number of examples, 1 or more"),
]
ProgressBar = Annotated[bool | Literal["auto"], Expected("auto, true or false")]


class Trainer(Section):
    """``conf/trainer/default.yaml`` explains each setting."""

    accelerator: Accelerator
    devices: Devices
    strategy: Strategy
    precision: Precision
    accumulate_grad_batches: Count
    limit_train_batches: Batches
    max_steps: CountOrNull
    scale_recipe: YesNo
    log_every_n_steps: Count
    deterministic: YesNo
    checkpoint_every: Count
    keep_checkpoints: YesNo
    patience: CountOrNull
    num_workers: Workers
    progress_bar: ProgressBar
    # runs of earlier versions do not have these
    micro_batch_size: MicroBatchSize = None
    gradient_checkpointing: YesNo = False

    @model_validator(mode="before")
    @classmethod
    def _choose_strategy(cls, node: Any) -> Any:
        """All devices are shared by DDP; a CPU is one device."""
        if isinstance(node, dict) and node.get("devices") == "auto" and node.get("strategy") == "auto":
            return {**node, **({"devices": 1} if node.get("accelerator") == "cpu" else {"strategy": "ddp"})}
        return node

    @model_validator(mode="after")
    def _check(self) -> "Trainer":
        if self.strategy == "auto" and isinstance(self.devices, int) and self.devices > 1:
            raise broken_rule(f"{{path}}.devices={self.devices} needs {{path}}.strategy=ddp; add trainer=ddp.")
        if self.scale_recipe and self.max_steps is None:
            raise broken_rule("{path}.scale_recipe=true has no effect without {path}.max_steps.")
        return self

    @property
    def data_parallel(self) -> bool:
        return self.strategy != "auto"
