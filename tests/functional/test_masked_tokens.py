import math

import pytest
import torch

from winnow.functional.masked_tokens import IGNORED, mask_tokens

SPECIAL = torch.tensor([0, 1, 2, 3])  # padding first
MASK, VOCABULARY = 3, 1000


def hidden(input_ids, *, probability=0.15, generator=None):
    return mask_tokens(
        input_ids,
        special_ids=SPECIAL,
        mask_id=MASK,
        vocabulary=VOCABULARY,
        probability=probability,
        generator=generator,
    )


def texts(rows, tokens):
    return torch.randint(len(SPECIAL), VOCABULARY, (rows, tokens))


def assert_near(count, total, fraction):
    """Within four standard deviations of a binomial count."""
    assert abs(count - total * fraction) < 4 * math.sqrt(total * fraction * (1 - fraction))


@pytest.mark.parametrize("probability", [0.15, 0.4])
def test_each_text_hides_its_share_of_tokens(probability):
    _, labels = hidden(texts(50, 200), probability=probability)
    assert ((labels != IGNORED).sum(dim=1) == round(200 * probability)).all()


@pytest.mark.parametrize(("tokens", "chosen"), [(1, 1), (2, 1), (9, 1), (11, 2), (20, 3)])
def test_a_short_text_hides_at_least_one_token(tokens, chosen):
    _, labels = hidden(texts(30, tokens))
    assert ((labels != IGNORED).sum(dim=1) == chosen).all()


def test_of_the_chosen_tokens_80_in_100_become_the_mask_10_a_random_token_and_10_stay():
    ids = texts(2000, 100)
    inputs, labels = hidden(ids)
    chosen = labels != IGNORED
    before, after = ids[chosen], inputs[chosen]
    assert len(before) == 2000 * 15
    stayed, masked = int((after == before).sum()), int((after == MASK).sum())
    assert_near(masked, len(before), 0.8)
    assert_near(stayed, len(before), 0.1)
    assert_near(len(before) - masked - stayed, len(before), 0.1)


def test_random_tokens_come_from_the_whole_vocabulary():
    ids = torch.full((4000, 100), 500)
    inputs, labels = hidden(ids)
    random = inputs[(labels != IGNORED) & (inputs != MASK) & (inputs != 500)]
    assert 0 <= int(random.min()) < 20
    assert VOCABULARY - 20 < int(random.max()) < VOCABULARY
    assert_near(int((random < VOCABULARY // 2).sum()), len(random), 0.5)


def test_every_place_is_as_likely():
    _, labels = hidden(texts(4000, 20))
    for count in (labels != IGNORED).sum(dim=0).tolist():
        assert_near(count, 4000, 0.15)


def test_what_is_not_chosen_stays_and_the_labels_are_the_tokens_that_were_there():
    ids = texts(20, 100)
    before = ids.clone()
    inputs, labels = hidden(ids)
    chosen = labels != IGNORED
    assert torch.equal(inputs[~chosen], before[~chosen])
    assert torch.equal(labels[chosen], before[chosen])
    assert torch.equal(ids, before)


def test_special_tokens_and_padding_are_never_chosen_and_do_not_count():
    ids = texts(500, 64)
    ids[:, ::2] = 2
    ids[:, 40:] = 0  # 20 tokens are left of each text
    inputs, labels = hidden(ids)
    special = torch.isin(ids, SPECIAL)
    assert (labels[special] == IGNORED).all()
    assert torch.equal(inputs[special], ids[special])
    assert ((labels != IGNORED).sum(dim=1) == 3).all()


def test_a_text_of_special_tokens_alone_is_left_alone():
    ids = torch.tensor([[1, 2, 0, 0]])
    inputs, labels = hidden(ids)
    assert torch.equal(inputs, ids)
    assert (labels == IGNORED).all()


def test_the_same_state_of_a_generator_gives_the_same_masks():
    ids = texts(10, 50)
    first, again, other = (hidden(ids, generator=torch.Generator().manual_seed(seed)) for seed in (7, 7, 8))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_without_a_generator_the_numbers_are_those_that_a_run_seeds():
    ids = texts(10, 50)
    torch.manual_seed(3)
    first, second = hidden(ids), hidden(ids)
    torch.manual_seed(3)
    assert torch.equal(hidden(ids)[1], first[1])
    assert not torch.equal(first[1], second[1])


def test_a_single_text_has_no_leading_dimension():
    inputs, labels = hidden(texts(1, 40)[0])
    assert inputs.shape == labels.shape == (40,)
    assert int((labels != IGNORED).sum()) == 6
