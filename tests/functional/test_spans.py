import torch
from hypothesis import given
from hypothesis import strategies as st

from winnow.functional.spans import best_spans


def every_span(start, end, allowed, max_length):
    """(score, first, last) of each span that may be an answer, the best first, by trying them all."""
    spans = [
        (start[i] + end[j], i, j)
        for i in range(len(start))
        for j in range(i, min(i + max_length, len(start)))
        if allowed[i] and allowed[j]
    ]
    return sorted(spans, key=lambda span: -span[0])


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 12), st.integers(1, 30))
def test_the_best_spans_are_those_of_a_search_through_all(seed, length, max_length, n_best):
    generator = torch.Generator().manual_seed(seed)
    start, end = torch.randn(2, 3, length, generator=generator, dtype=torch.float64)
    allowed = torch.rand(3, length, generator=generator) < 0.7
    first, last, scores = best_spans(start, end, allowed, max_length=max_length, n_best=n_best)
    for row in range(3):
        expected = every_span(start[row].tolist(), end[row].tolist(), allowed[row].tolist(), max_length)[:n_best]
        found = [
            (s, i, j)
            for s, i, j in zip(scores[row].tolist(), first[row].tolist(), last[row].tolist(), strict=True)
            if s > -torch.inf
        ]
        assert [(i, j) for _, i, j in found] == [(i, j) for _, i, j in expected]
        assert torch.allclose(torch.tensor([s for s, _, _ in found]), torch.tensor([s for s, _, _ in expected]))


def test_a_span_by_hand():
    start, end = torch.tensor([[5.0, 1.0, 0.0, 2.0]]), torch.tensor([[9.0, 0.0, 3.0, 1.5]])
    allowed = torch.tensor([[False, True, True, True]])  # the first token is no part of the context
    first, last, scores = best_spans(start, end, allowed, max_length=2, n_best=2)
    assert (first.tolist(), last.tolist(), scores.tolist()) == ([[1, 3]], [[2, 3]], [[4.0, 3.5]])


def test_a_row_without_any_allowed_token_has_no_span():
    scores = best_spans(torch.zeros(1, 4), torch.zeros(1, 4), torch.zeros(1, 4).bool(), max_length=3, n_best=5)[2]
    assert torch.isneginf(scores).all()
