import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from winnow.functional.distillation_loss import (
    distillation_loss,
    evenly_mapped,
    hidden_state_loss,
    mix_losses,
    regression_distillation_loss,
)

STUDENT, TEACHER = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 1.5231882), (2.0, 1.8484687), (5.5, 1.9782492)])
def test_the_loss_of_two_logits_has_the_published_value(temperature, expected):
    loss = distillation_loss(STUDENT, TEACHER, temperature=temperature)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 20.0])
def test_a_student_equal_to_its_teacher_has_no_loss(temperature):
    logits = torch.randn(4, 7)
    assert float(distillation_loss(logits, logits.clone(), temperature=temperature)) == 0.0


def test_logits_that_differ_by_a_constant_mean_the_same():
    logits = torch.randn(4, 7)
    assert float(distillation_loss(logits + 3.0, logits, temperature=2.0)) == pytest.approx(0.0, abs=1e-6)


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=6), st.floats(0.5, 10), st.integers(0, 2**31))
def test_the_loss_is_never_negative(logits, temperature, seed):
    student = torch.tensor(logits)
    teacher = 5 * torch.randn(student.shape, generator=torch.Generator().manual_seed(seed))
    assert float(distillation_loss(student, teacher, temperature=temperature)) >= -1e-4


def test_the_loss_is_the_mean_over_all_leading_dimensions():
    student, teacher = torch.randn(3, 5, 4), torch.randn(3, 5, 4)
    each = [
        float(distillation_loss(s, t, temperature=2.0))
        for s, t in zip(student.view(-1, 4), teacher.view(-1, 4), strict=True)
    ]
    assert float(distillation_loss(student, teacher, temperature=2.0)) == pytest.approx(sum(each) / 15, rel=1e-5)


def test_the_loss_matches_the_kl_divergence_of_torch():
    student, teacher = torch.randn(6, 4), torch.randn(6, 4)
    expected = 9.0 * torch.nn.functional.kl_div(
        (student / 3).log_softmax(-1), (teacher / 3).softmax(-1), reduction="batchmean"
    )
    assert float(distillation_loss(student, teacher, temperature=3.0)) == pytest.approx(float(expected), rel=1e-5)


def test_padding_positions_do_not_count():
    student, teacher = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    loss = distillation_loss(student, teacher, temperature=2.0, mask=mask)
    assert float(loss) == pytest.approx(float(distillation_loss(student[mask], teacher[mask], temperature=2.0)))
    student[~mask] = 1000.0
    assert torch.equal(distillation_loss(student, teacher, temperature=2.0, mask=mask), loss)


def test_no_gradient_reaches_padding():
    student = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    distillation_loss(student, torch.randn(2, 3, 4), temperature=2.0, mask=mask).backward()
    assert torch.count_nonzero(student.grad[~mask]) == 0
    assert torch.count_nonzero(student.grad[mask]) > 0


def test_low_precision_logits_are_compared_in_float32():
    student, teacher = STUDENT.bfloat16(), TEACHER.bfloat16()
    loss = distillation_loss(student, teacher, temperature=5.5)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(1.9782492, abs=1e-6)


def test_a_class_that_the_student_rules_out_gives_a_finite_loss():
    loss = distillation_loss(torch.tensor([300.0, -300.0]), torch.tensor([-300.0, 300.0]), temperature=1.0)
    assert float(loss) == pytest.approx(600.0)


def test_a_regression_is_distilled_by_its_squared_distance():
    loss = regression_distillation_loss(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [0.0]]))
    assert float(loss) == 5.0


@pytest.mark.parametrize(("hardness", "expected"), [(0.6, 0.7), (0.0, 1.0), (1.0, 0.5), (0.5, 0.75)])
def test_hardness_is_the_weight_of_the_teacher(hardness, expected):
    mixed = mix_losses(torch.tensor(1.0), torch.tensor(0.5), hardness=hardness)
    assert float(mixed) == pytest.approx(expected)


def test_an_infinite_task_loss_does_not_reach_a_student_that_learns_from_the_teacher_alone():
    assert float(mix_losses(torch.tensor(float("inf")), torch.tensor(0.5), hardness=1.0)) == 0.5


def test_the_distance_of_two_hidden_states_is_that_computed_by_hand():
    student = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    teacher = torch.tensor([[[3.0, 2.0], [1.0, 5.0]]])
    # position 0: (4 + 0) / 2 = 2; position 1: (1 + 25) / 2 = 13
    assert float(hidden_state_loss(student, teacher, torch.tensor([[1, 1]]))) == 7.5
    assert float(hidden_state_loss(student, teacher, torch.tensor([[1, 0]]))) == 2.0
    assert float(hidden_state_loss(student, teacher, torch.tensor([[False, True]]))) == 13.0


def test_equal_hidden_states_have_no_distance():
    states = torch.randn(2, 3, 4)
    assert float(hidden_state_loss(states, states.clone(), torch.ones(2, 3))) == 0.0


def test_what_stands_at_padding_positions_does_not_count():
    states, mask = torch.randn(2, 3, 4), torch.tensor([[1, 1, 0], [1, 0, 0]])
    changed = states + 100.0 * (1 - mask)[..., None]
    assert float(hidden_state_loss(changed, states, mask)) == 0.0


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (4, 12, [2, 5, 8, 11]),
        (6, 12, [1, 3, 5, 7, 9, 11]),
        (3, 3, [0, 1, 2]),
        (4, 6, [1, 2, 4, 5]),
        (1, 12, [11]),
        (4, 2, [0, 0, 1, 1]),
    ],
)
def test_the_layers_of_a_student_are_spread_evenly_over_those_of_its_teacher(student, teacher, expected):
    assert list(evenly_mapped(student, teacher).values()) == expected
