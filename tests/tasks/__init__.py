"""Tests of winnow.tasks."""
