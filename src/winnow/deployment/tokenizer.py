"""The tokenizer of a deployment, by the package tokenizers alone: the tokens of transformers without transformers."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from tokenizers import Encoding, Tokenizer

from winnow.files.json_text import read_json
from winnow.files.token_limit import saved_token_limit

TOKENIZER = "tokenizer.json"


class SavedTokenizer:
    """A fast tokenizer, called as one of transformers; several threads may call it at once.

    Args:
        folder: with tokenizer.json and tokenizer_config.json, and config.json of the model.
    """

    is_fast = True
    pad_token_type_id = 0

    def __init__(self, folder: Path) -> None:
        settings = read_json(folder / "tokenizer_config.json")
        self.model_max_length = saved_token_limit(folder) or sys.maxsize
        self._file = folder / TOKENIZER
        self._truncation_side = settings.get("truncation_side", "right")
        self._unused: Tokenizer | None = self._load()
        self._special_tokens = [self._unused.num_special_tokens_to_add(pair) for pair in (False, True)]
        self.pad_token_id = self._unused.token_to_id(_content(settings["pad_token"]))
        self._by_truncation: dict[tuple[Any, ...] | None, Tokenizer] = {}
        self._lock = Lock()

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return self._special_tokens[pair]

    def __call__(
        self,
        texts: Sequence[Any],
        pairs: Sequence[str] | None = None,
        *,
        truncation: bool | str = False,
        max_length: int = 0,
        stride: int = 0,
        is_split_into_words: bool = False,
        add_special_tokens: bool = True,
        return_overflowing_tokens: bool = False,
        return_offsets_mapping: bool = False,
    ) -> "Encodings":
        """The tokens of texts, or of pairs of texts; the arguments are those of transformers."""
        strategy = "longest_first" if truncation is True else truncation
        tokenizer = self._truncating((max_length, stride, strategy) if truncation else None)
        rows = texts if pairs is None else list(zip(texts, pairs, strict=True))
        found = tokenizer.encode_batch(rows, is_split_into_words, add_special_tokens)
        overflowing = [each.overflowing if return_overflowing_tokens else [] for each in found]
        encodings = Encodings(
            [window for each, others in zip(found, overflowing, strict=True) for window in (each, *others)]
        )
        if return_overflowing_tokens:
            counts = [1 + len(others) for others in overflowing]
            encodings["overflow_to_sample_mapping"] = [i for i, count in enumerate(counts) for _ in range(count)]
        if return_offsets_mapping:
            encodings["offset_mapping"] = [window.offsets for window in encodings.encodings]
        return encodings

    def _truncating(self, truncation: tuple[Any, ...] | None) -> Tokenizer:
        """The tokenizer for this truncation, which is a state of it: to change it would disturb other threads."""
        with self._lock:
            if truncation not in self._by_truncation:
                tokenizer, self._unused = self._unused or self._load(), None
                if truncation is not None:
                    max_length, stride, strategy = truncation
                    tokenizer.enable_truncation(
                        max_length, stride=stride, strategy=strategy, direction=self._truncation_side
                    )
                self._by_truncation[truncation] = tokenizer
            return self._by_truncation[truncation]

    def _load(self) -> Tokenizer:
        tokenizer = Tokenizer.from_file(str(self._file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


class Encodings(dict[str, list[Any]]):
    """The columns of a batch of texts, as `transformers.BatchEncoding` has them.

    Args:
        encodings: of all windows.
    """

    def __init__(self, encodings: list[Encoding]) -> None:
        super().__init__(
            input_ids=[each.ids for each in encodings],
            token_type_ids=[each.type_ids for each in encodings],
            attention_mask=[each.attention_mask for each in encodings],
        )
        self.encodings = encodings

    def sequence_ids(self, window: int) -> list[int | None]:
        """0 for the tokens of the text, 1 for those of the second one, None for special tokens."""
        ids: list[int | None] = self.encodings[window].sequence_ids
        return ids


def _content(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else token["content"]
