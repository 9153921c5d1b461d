"""Tests of src/functional."""
