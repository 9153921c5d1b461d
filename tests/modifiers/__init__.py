"""Tests of src/modifiers."""
