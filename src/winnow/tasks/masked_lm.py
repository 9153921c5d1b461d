"""Masked language modelling on plain text: what a pruned encoder is trained on before it is transferred to a task."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset, DatasetDict, Value
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from transformers import AutoModelForMaskedLM

from winnow.data.cached_map import cached_map
from winnow.errors import UserError
from winnow.functional.distillation_loss import distillation_loss
from winnow.functional.masked_tokens import IGNORED, mask_tokens
from winnow.tasks.task import Task, check_metric_names


class _MeanOverTokens(MeanMetric):
    def __init__(self) -> None:
        super().__init__()
        self.set_dtype(torch.float64)  # a sum over millions of tokens


class Perplexity(_MeanOverTokens):
    """exp of the mean cross entropy, 1 or more; as low as can be."""

    def update(self, logits: Tensor, labels: Tensor) -> None:
        super().update(F.cross_entropy(logits, labels, reduction="none"))

    def compute(self) -> Tensor:
        return super().compute().exp()


class TokenAccuracy(_MeanOverTokens):
    """Fraction of the tokens that the highest score guesses."""

    def update(self, logits: Tensor, labels: Tensor) -> None:
        super().update((logits.argmax(dim=-1) == labels).double())


METRICS: dict[str, Callable[[], Metric]] = {"perplexity": Perplexity, "accuracy": TokenAccuracy}


class MaskedLM(Task):
    """Guess hidden tokens from their surroundings (Devlin et al. 2019, arXiv:1810.04805, section 3.1).

    Training hides other tokens in every batch; evaluation always the same ones.

    Args:
        name: of the task, for folders and tables.
        metrics: names of the metrics; the first chooses the best model.
        max_length: tokens of a row, special ones included.
        line_by_line: true: a text is a row, cut to ``max_length``; false: texts are joined and cut into whole blocks.
        mask_probability: fraction of the tokens to guess, in (0, 1).
        data: the ``task.data`` section; the text column is read here.
    """

    auto_model = AutoModelForMaskedLM
    output_names: Sequence[str] = ()
    random_inputs = True
    padding: Mapping[str, int] = {"labels": IGNORED}

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
            raise UserError(f"task.max_length={max_length} leaves no room for a word beside two special tokens.")
        self.max_length = max_length
        self.line_by_line = line_by_line
        self.mask_probability = mask_probability

    def prepare(self, splits: DatasetDict) -> DatasetDict:
        return DatasetDict({name: self._texts_alone(split, name) for name, split in splits.items()})

    def encode(self, split: Dataset, tokenizer: Any, *, training: bool) -> Dataset:
        _check_special_tokens(tokenizer)
        max_length = min(self.max_length, tokenizer.model_max_length)
        cut = _lines(tokenizer, max_length) if self.line_by_line else _blocks(tokenizer, max_length, texts=len(split))
        special = set(tokenizer.all_special_ids)

        def features(texts: list[str | None], indices: list[int]) -> dict[str, list]:
            rows = [ids for ids in cut(texts, indices) if not special.issuperset(ids)]
            lengths = [len(ids) for ids in rows]
            return {"input_ids": rows, "attention_mask": [[1] * n for n in lengths], "length": lengths}

        encoded = cached_map(
            split,
            features,
            batched=True,
            with_indices=True,
            input_columns=self.text_columns,
            remove_columns=split.column_names,
        )
        if len(encoded) == 0:
            raise UserError(
                f"task.data.text_columns: none of the {len(split):,} rows of a split has text in column "
                f"'{self.text_columns[0]}' that the tokenizer knows; give it other files or another model."
            )
        return encoded if training else self._with_fixed_masks(encoded, tokenizer)

    def collator(self, tokenizer: Any) -> Callable[[Mapping[str, Sequence]], dict[str, Tensor]]:
        return partial(_pad_and_hide, pad=super().collator(tokenizer), hide=self._hide(tokenizer))

    def outputs(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Any:
        """Logits of the masked tokens alone, ``(masked, vocabulary)``, in the order of the batch.

        The head works token by token and is much wider than the encoder, so only these tokens reach it.
        """
        masked = batch["labels"] != IGNORED

        def keep_masked(encoder: nn.Module, inputs: Any, outputs: Any) -> Any:
            outputs.last_hidden_state = outputs.last_hidden_state[masked]  # (masked, width)
            return outputs

        hook = model.base_model.register_forward_hook(keep_masked)
        try:
            return super().outputs(model, batch)
        finally:
            hook.remove()

    def loss(self, outputs: Any, batch: Mapping[str, Tensor]) -> Tensor:
        return F.cross_entropy(outputs.logits.float(), _masked_labels(batch))

    def distillation_loss(
        self, student: Any, teacher: Any, batch: Mapping[str, Tensor], *, temperature: float
    ) -> Tensor:
        return distillation_loss(student.logits, teacher.logits, temperature=temperature)

    def metrics(self, split: Dataset) -> dict[str, Metric]:
        return {name: METRICS[name]() for name in self.metric_names}

    def update_metrics(self, metrics: Any, outputs: Any, batch: Mapping[str, Tensor]) -> None:
        metrics.update(outputs.logits.float(), _masked_labels(batch))

    def _texts_alone(self, split: Dataset, name: str) -> Dataset:
        column = self.text_columns[0]
        feature = split.features[column]
        if not isinstance(feature, Value):
            raise UserError(f"task.data.text_columns: column '{column}' of the {name} split holds no texts: {feature}.")
        split = split.select_columns([column])
        return split if feature.dtype in ("string", "large_string") else split.cast_column(column, Value("string"))

    def _hide(self, tokenizer: Any) -> Callable[..., tuple[Tensor, Tensor]]:
        return partial(
            mask_tokens,
            special_ids=torch.tensor(tokenizer.all_special_ids),
            mask_id=tokenizer.mask_token_id,
            vocabulary=len(tokenizer),
            probability=self.mask_probability,
        )

    def _with_fixed_masks(self, encoded: Dataset, tokenizer: Any) -> Dataset:
        """Each row hidden by random numbers of its own, so that neither batches nor other rows matter."""
        hide = self._hide(tokenizer)

        def hidden(rows: list[list[int]], indices: list[int]) -> dict[str, list]:
            texts = [
                hide(torch.tensor(ids), generator=torch.Generator().manual_seed(row))
                for ids, row in zip(rows, indices, strict=True)
            ]
            inputs, labels = zip(*texts, strict=True)
            return {"input_ids": [t.int().numpy() for t in inputs], "labels": [t.int().numpy() for t in labels]}

        return cached_map(encoded, hidden, batched=True, with_indices=True, input_columns="input_ids")


def _check_special_tokens(tokenizer: Any) -> None:
    for token in ("mask_token", "cls_token", "sep_token"):
        if getattr(tokenizer, token) is None:
            raise UserError(
                f"model.name={tokenizer.name_or_path}: its tokenizer has no {token}, which masked language modelling "
                "needs; choose an encoder such as BERT or RoBERTa."
            )


def _lines(tokenizer: Any, max_length: int) -> Callable[[list[str | None], list[int]], list[list[int]]]:
    """Token ids of a row for each text that is not empty."""

    def cut(texts: list[str | None], indices: list[int]) -> list[list[int]]:
        filled = [text for text in texts if text and text.strip()]
        return tokenizer(filled, truncation=True, max_length=max_length)["input_ids"] if filled else []

    return cut


def _blocks(tokenizer: Any, max_length: int, texts: int) -> Callable[[list[str | None], list[int]], list[list[int]]]:
    """Token ids of whole blocks of the joined texts, which come batch by batch, ``texts`` in all.

    What is left of the last batch is dropped, unless there has been no whole block: then it is the only one.
    """
    size = max_length - 2  # between the tokens that begin and end a text
    stream: list[int] = []
    blocks_so_far = 0

    def cut(texts_of_batch: list[str | None], indices: list[int]) -> list[list[int]]:
        nonlocal stream, blocks_so_far
        filled = [text for text in texts_of_batch if text and text.strip()]
        for ids in tokenizer(filled, add_special_tokens=False, verbose=False)["input_ids"] if filled else ():
            stream += [*ids, tokenizer.sep_token_id]
        whole = len(stream) // size * size
        blocks = [stream[start : start + size] for start in range(0, whole, size)]
        stream = stream[whole:]
        blocks_so_far += len(blocks)
        if not blocks_so_far and indices[-1] == texts - 1:
            blocks = [stream[:-1]]
        return [[tokenizer.cls_token_id, *block, tokenizer.sep_token_id] for block in blocks]

    return cut


def _pad_and_hide(
    rows: Mapping[str, Sequence],
    pad: Callable[[Mapping[str, Sequence]], dict[str, Tensor]],
    hide: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> dict[str, Tensor]:
    """Rows that come without labels are hidden anew; those of an evaluation are hidden already."""
    batch = pad(rows)
    if "labels" not in batch:
        batch["input_ids"], batch["labels"] = hide(batch["input_ids"])
    return batch


def _masked_labels(batch: Mapping[str, Tensor]) -> Tensor:
    return batch["labels"][batch["labels"] != IGNORED]  # (masked,)
