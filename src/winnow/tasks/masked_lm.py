"""Masked language modelling on plain text: trains a pruned encoder before it is transferred to a task."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset, DatasetDict
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from winnow.data.batch import Batch, Collator, Columns, ModelOutputs
from winnow.data.cached_map import cached_map
from winnow.data.text_column import text_column
from winnow.errors import UserError
from winnow.functional.distillation_loss import distillation_loss
from winnow.functional.masked_tokens import IGNORED, mask_tokens
from winnow.tasks.task import Task, check_metric_names

TokenIds = list[int]
Masking = Callable[..., tuple[Tensor, Tensor]]  # token ids -> corrupted ids, labels
RowBuilder = Callable[[Sequence[str | None], Sequence[int]], list[TokenIds]]  # texts, their indices -> rows

_TEXT = "text"  # the column of a prepared split


class _MeanOverTokens(MeanMetric):
    def __init__(self) -> None:
        super().__init__()
        self.set_dtype(torch.float64)  # a sum over millions of tokens


class Perplexity(_MeanOverTokens):
    """exp of the mean cross entropy; 1 is the lowest and best value."""

    def update(self, logits: Tensor, labels: Tensor) -> None:  # type: ignore[override]  # each metric has its own inputs
        super().update(F.cross_entropy(logits, labels, reduction="none"))

    def compute(self) -> Tensor:
        return super().compute().exp()


class TokenAccuracy(_MeanOverTokens):
    """Fraction of the tokens whose label has the highest score."""

    def update(self, logits: Tensor, labels: Tensor) -> None:  # type: ignore[override]  # each metric has its own inputs
        super().update((logits.argmax(dim=-1) == labels).double())


METRICS: dict[str, Callable[[], Metric]] = {"perplexity": Perplexity, "accuracy": TokenAccuracy}


class MaskedLM(Task):
    """Predict masked tokens from their context (Devlin et al. 2019, arXiv:1810.04805, section 3.1).

    Training masks other tokens in every batch; evaluation always masks the same tokens.

    Args:
        name: name of the task, for folders and tables.
        metrics: names of the metrics; the first one chooses the best model.
        max_length: tokens of a row, special tokens included.
        line_by_line: True: each text is a row, truncated to ``max_length``; False: the joined texts are cut into
            blocks of ``max_length``.
        mask_probability: fraction of the tokens to predict, in (0, 1).
        data: the ``task.data`` section; the name of the text column is read here.
    """

    auto_model = AutoModelForMaskedLM
    output_names: Sequence[str] = ()
    random_inputs = True
    extra_padding: Mapping[str, int] = {"labels": IGNORED}

    def __init__(
        self,
        *,
        name: str,
        metrics: Sequence[str],
        max_length: int,
        line_by_line: bool,
        mask_probability: float,
        data: Mapping[str, Any],
    ) -> None:
        super().__init__(name=name, metrics=metrics, data=data)
        check_metric_names(metrics, METRICS, "masked language modelling")
        if len(self.text_columns) != 1:
            raise UserError(f"task.data.text_columns must be one column, got {self.text_columns}.")
        if max_length < 3:
            raise UserError(
                f"task.max_length={max_length} has no room for a word beside two special tokens; set 3 or more."
            )
        self.max_length = max_length
        self.line_by_line = line_by_line
        self.mask_probability = mask_probability

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        return DatasetDict(
            {name: text_column(split, self.text_columns[0], _TEXT, name) for name, split in splits.items()}
        )

    def encode(self, split: Dataset, tokenizer: PreTrainedTokenizerBase, *, training: bool) -> Dataset:
        _check_special_tokens(tokenizer)
        max_length = min(self.max_length, tokenizer.model_max_length)
        build = _lines(tokenizer, max_length) if self.line_by_line else _blocks(tokenizer, max_length, len(split))
        special = set(tokenizer.all_special_ids)

        def features(texts: list[str | None], indices: list[int]) -> dict[str, list[Any]]:
            rows = [ids for ids in build(texts, indices) if not special.issuperset(ids)]
            lengths = [len(ids) for ids in rows]
            return {"input_ids": rows, "attention_mask": [[1] * n for n in lengths], "length": lengths}

        encoded = cached_map(
            split,
            features,
            batched=True,
            with_indices=True,
            input_columns=[_TEXT],
            remove_columns=split.column_names,
        )
        if len(encoded) == 0:
            raise UserError(
                f"task.data.text_columns: in column '{self.text_columns[0]}' none of the {len(split):,} rows of a "
                "split has text that the tokenizer knows; name other files, another column or another model."
            )
        return encoded if training else self._with_fixed_masks(encoded, tokenizer)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Collator:
        return partial(_pad_and_mask, pad=super().collator(tokenizer), mask=self._masking(tokenizer))

    def outputs(self, model: nn.Module, batch: Batch) -> ModelOutputs:
        """Logits of the masked tokens only, ``(masked, vocabulary)``, in the order of the batch.

        The head works on each token separately and is much wider than the encoder, so it gets only these tokens.
        """
        masked = batch["labels"] != IGNORED

        def keep_masked(encoder: nn.Module, inputs: Any, outputs: BaseModelOutput) -> BaseModelOutput:
            assert outputs.last_hidden_state is not None
            outputs.last_hidden_state = outputs.last_hidden_state[masked]  # (masked, width)
            return outputs

        encoder = model.base_model
        assert isinstance(encoder, nn.Module)
        hook = encoder.register_forward_hook(keep_masked)
        try:
            return super().outputs(model, batch)
        finally:
            hook.remove()

    def loss(self, outputs: ModelOutputs, batch: Batch) -> Tensor:
        return F.cross_entropy(outputs.logits.float(), _masked_labels(batch))

    def distillation_loss(
        self, student: ModelOutputs, teacher: ModelOutputs, batch: Batch, *, temperature: float
    ) -> Tensor:
        return distillation_loss(student.logits, teacher.logits, temperature=temperature)

    def metrics(self, split: Dataset) -> dict[str, Metric]:
        return {name: METRICS[name]() for name in self.metric_names}

    def update_metrics(self, metrics: MetricCollection, outputs: ModelOutputs, batch: Batch) -> None:
        metrics.update(outputs.logits.float(), _masked_labels(batch))

    def _masking(self, tokenizer: PreTrainedTokenizerBase) -> Masking:
        return partial(
            mask_tokens,
            special_ids=torch.tensor(tokenizer.all_special_ids),
            mask_id=tokenizer.mask_token_id,
            vocabulary=len(tokenizer),
            probability=self.mask_probability,
        )

    def _with_fixed_masks(self, encoded: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
        """Mask each row with random numbers seeded by its index, so that it depends neither on batches nor on rows."""
        mask = self._masking(tokenizer)

        def masked(rows: list[TokenIds], indices: list[int]) -> dict[str, list[Any]]:
            texts = [
                mask(torch.tensor(ids), generator=torch.Generator().manual_seed(row))
                for ids, row in zip(rows, indices, strict=True)
            ]
            inputs, labels = zip(*texts, strict=True)
            return {"input_ids": [t.int().numpy() for t in inputs], "labels": [t.int().numpy() for t in labels]}

        return cached_map(encoded, masked, batched=True, with_indices=True, input_columns="input_ids")


def _check_special_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    for token in ("mask_token", "cls_token", "sep_token"):
        if getattr(tokenizer, token) is None:
            raise UserError(
                f"model.name={tokenizer.name_or_path}: its tokenizer has no {token}, which masked language modelling "
                "needs; choose an encoder such as BERT or RoBERTa."
            )


def _lines(tokenizer: PreTrainedTokenizerBase, max_length: int) -> RowBuilder:
    """Builds one row from each text that is not empty."""

    def build(texts: Sequence[str | None], indices: Sequence[int]) -> list[TokenIds]:
        given = _not_empty(texts)
        return list(tokenizer(given, truncation=True, max_length=max_length)["input_ids"]) if given else []

    return build


def _blocks(tokenizer: PreTrainedTokenizerBase, max_length: int, count: int) -> RowBuilder:
    """Builds full blocks from the joined texts of all batches.

    The incomplete block at the end is dropped, unless it is the only block.

    Args:
        tokenizer: tokenizer of the model.
        max_length: tokens of a block.
        count: number of texts in all batches.
    """
    size = max_length - 2  # without the first and last special token
    stream: TokenIds = []
    blocks_so_far = 0

    def build(texts: Sequence[str | None], indices: Sequence[int]) -> list[TokenIds]:
        nonlocal stream, blocks_so_far
        given = _not_empty(texts)
        for ids in tokenizer(given, add_special_tokens=False, verbose=False)["input_ids"] if given else ():
            stream += [*ids, tokenizer.sep_token_id]
        full = len(stream) // size * size
        blocks = [stream[start : start + size] for start in range(0, full, size)]
        stream = stream[full:]
        blocks_so_far += len(blocks)
        if not blocks_so_far and indices[-1] == count - 1:
            blocks = [stream[:-1]]
        return [[tokenizer.cls_token_id, *block, tokenizer.sep_token_id] for block in blocks]

    return build


def _not_empty(texts: Sequence[str | None]) -> list[str]:
    return [text for text in texts if text and text.strip()]


def _pad_and_mask(rows: Columns, pad: Collator, mask: Masking) -> dict[str, Tensor]:
    """Mask training rows anew; evaluation rows have labels, because they are masked already."""
    batch = pad(rows)
    if "labels" not in batch:
        batch["input_ids"], batch["labels"] = mask(batch["input_ids"])
    return batch


def _masked_labels(batch: Batch) -> Tensor:
    return batch["labels"][batch["labels"] != IGNORED]  # (masked,)
