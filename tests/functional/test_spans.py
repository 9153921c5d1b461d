import numpy as np
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
    random = np.random.default_rng(seed)
    start, end = random.integers(0, 5, (2, 3, length)) / 2.0  # many spans have equal scores
    allowed = random.random((3, length)) < 0.7
    first, last, scores = best_spans(start, end, allowed, max_length=max_length, n_best=n_best)
    for row in range(3):
        expected = every_span(start[row], end[row], allowed[row], max_length)[:n_best]
        found = [(s, i, j) for s, i, j in zip(scores[row], first[row], last[row], strict=True) if s > -np.inf]
        assert [score for score, _, _ in found] == [score for score, _, _ in expected]
        assert all(start[row][i] + end[row][j] == s and allowed[row][[i, j]].all() for s, i, j in found)
        assert len({(i, j) for _, i, j in found}) == len(found)


def test_a_span_by_hand():
    start, end = np.array([[5.0, 1.0, 0.0, 2.0]]), np.array([[9.0, 0.0, 3.0, 1.5]])
    allowed = np.array([[False, True, True, True]])  # the first token is no part of the context
    first, last, scores = best_spans(start, end, allowed, max_length=2, n_best=2)
    assert (first.tolist(), last.tolist(), scores.tolist()) == ([[1, 3]], [[2, 3]], [[4.0, 3.5]])


def test_of_equal_spans_the_first_comes_first():
    first, last, _ = best_spans(np.ones((1, 3)), np.ones((1, 3)), np.ones((1, 3), dtype=bool), max_length=2, n_best=9)
    assert list(zip(first[0].tolist(), last[0].tolist(), strict=True))[:5] == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]


def test_a_row_without_any_allowed_token_has_no_span():
    scores = best_spans(np.zeros((1, 4)), np.zeros((1, 4)), np.zeros((1, 4), dtype=bool), max_length=3, n_best=5)[2]
    assert np.isneginf(scores).all()
