import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.functional.schedule import SHAPES, scheduled_sparsity


def sparsity_at(epoch, *, start, end, initial, final, shape):
    return scheduled_sparsity((epoch - start) / (end - start), initial=initial, final=final, shape=shape)


@pytest.mark.parametrize(
    ("shape", "epoch", "expected"),
    [
        ("cubic", 2, 0.0),
        ("cubic", 3, 0.126063),
        ("cubic", 6.5, 0.4625),
        ("cubic", 11, 0.7),
        ("cubic", 15.5, 0.7875),
        ("cubic", 19, 0.799863),
        ("cubic", 20, 0.8),
        ("linear", 2, 0.0),
        ("linear", 3, 0.044444),
        ("linear", 5, 0.133333),
        ("linear", 11, 0.4),
        ("linear", 19, 0.755556),
        ("linear", 20, 0.8),
        ("inverse_cubic", 2, 0.0),
        ("inverse_cubic", 3, 0.015098),
        ("inverse_cubic", 11, 0.16504),
        ("inverse_cubic", 19, 0.494743),
        ("inverse_cubic", 20, 0.8),
    ],
)
def test_a_ramp_from_epoch_2_to_20_has_the_published_values(shape, epoch, expected):
    s = sparsity_at(epoch, start=2, end=20, initial=0.0, final=0.8, shape=shape)
    assert s == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    enumerate([0.05, 0.25325, 0.416, 0.54275, 0.638, 0.70625, 0.752, 0.77975, 0.794, 0.79925, 0.8]),
)
def test_a_cubic_ramp_from_5_to_80_percent_has_the_published_value_at_each_epoch(epoch, expected):
    s = sparsity_at(epoch, start=0, end=10, initial=0.05, final=0.8, shape="cubic")
    assert s == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("progress", "expected"), [(-7.0, 0.1), (0.0, 0.1), (1.0, 0.9), (1.5, 0.9)])
def test_every_shape_is_clamped_to_both_endpoints(shape, progress, expected):
    assert scheduled_sparsity(progress, initial=0.1, final=0.9, shape=shape) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("final", [0.5, 0.8, 0.9, 0.95, 0.97, 0.99])
def test_the_last_value_is_the_final_sparsity_to_the_bit(shape, final):
    assert scheduled_sparsity(1.0, initial=0.0, final=final, shape=shape) == final


@pytest.mark.parametrize("shape", SHAPES)
@given(a=st.floats(-1, 2), b=st.floats(-1, 2))
def test_a_rising_ramp_never_falls(shape, a, b):
    early, late = sorted([a, b])
    assert scheduled_sparsity(early, initial=0.05, final=0.8, shape=shape) <= (
        scheduled_sparsity(late, initial=0.05, final=0.8, shape=shape) + 1e-12
    )


def test_cubic_is_the_shape_that_is_taken_without_a_name():
    assert scheduled_sparsity(0.5, initial=0.0, final=0.8) == pytest.approx(0.7)
