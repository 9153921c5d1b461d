"""Masked language modelling: choose the tokens to predict, and corrupt them in the input."""

import torch
from torch import Tensor

IGNORED = -100  # the label of a token that is not predicted; torch's cross entropy leaves it out

_AS_MASK, _AS_RANDOM = 0.8, 0.1  # of the chosen tokens; the rest stays as it is


def mask_tokens(
    input_ids: Tensor,
    *,
    special_ids: Tensor,
    mask_id: int,
    vocabulary: int,
    probability: float,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Choose tokens to predict; 80 % of them become the mask token, 10 % a random token, 10 % stay (Devlin et al. 2019,
    arXiv:1810.04805, section 3.1 and appendix A.1).

    As in the code of that paper the number of chosen tokens of a text is its number of tokens times ``probability``,
    rounded, and at least one, so that every text has a loss.

    Args:
        input_ids: int64, ``(..., tokens)``, each row a text; not changed.
        special_ids: tokens that are never chosen, padding among them.
        mask_id: of the mask token.
        vocabulary: random tokens are drawn from ids below it.
        probability: fraction of the tokens to choose, in (0, 1).
        generator: of the random numbers, on the device of ``input_ids``; None: torch's default.

    Returns:
        The corrupted input, and the labels: the original token where one was chosen, else ``IGNORED``. Both in the
        shape of ``input_ids``.
    """

    def random() -> Tensor:
        return torch.rand(input_ids.shape, generator=generator, device=input_ids.device)

    eligible = ~torch.isin(input_ids, special_ids)
    count = (probability * eligible.sum(dim=-1, keepdim=True)).round().clamp(min=1)  # (..., 1)
    rank = random().masked_fill(~eligible, 2.0).argsort(dim=-1).argsort(dim=-1)
    chosen = eligible & (rank < count)
    fate = random()
    others = torch.randint(vocabulary, input_ids.shape, generator=generator, device=input_ids.device)
    inputs = torch.where(chosen & (fate < _AS_MASK), mask_id, input_ids)
    inputs = torch.where(chosen & (fate >= 1 - _AS_RANDOM), others, inputs)
    return inputs, input_ids.masked_fill(~chosen, IGNORED)
