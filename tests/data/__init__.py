"""Tests of winnow.data."""
