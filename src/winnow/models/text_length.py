"""Cut texts to the tokens that a model reads, whatever its tokenizer says."""

import sys
from typing import Any

from transformers import PreTrainedConfig

from winnow.config.run import RunConfig
from winnow.files.token_limit import check_length, token_limit
from winnow.processes import is_main_process


def check_lengths(config: RunConfig, model: PreTrainedConfig) -> None:
    """Refuse a length of the command line that is above the limit of the model.

    Raises:
        UserError: with the setting and the limit.
    """
    limit = token_limit(model.to_dict())
    for setting, length in config.chosen_lengths.items():
        check_length(setting, length, limit)


def limit_length(tokenizer: Any, config: RunConfig, model: PreTrainedConfig) -> None:
    """Lower ``tokenizer.model_max_length``, to which tasks cut texts, to the limit of the model.

    A default length that is larger is cut with a note. One of the command line is refused.

    Args:
        tokenizer: is changed; a tokenizer that comes with no model takes the limit of the model.
        config: of the run.
        model: configuration of the student.

    Raises:
        UserError: as `check_lengths` does.
    """
    check_lengths(config, model)
    limit = token_limit(model.to_dict())
    if limit is not None:
        own = config.model.config is None
        tokenizer.model_max_length = min(tokenizer.model_max_length, limit) if own else limit
    for name, length in config.task.lengths.items():
        if length > tokenizer.model_max_length and is_main_process():
            print(
                f"note: texts are cut to {tokenizer.model_max_length} tokens, the most that the model reads, not to "
                f"task.{name}={length}.",
                file=sys.stderr,
                flush=True,
            )
