"""Tests of src/deployment."""
