"""Tests, in the tree of src/: the name of a test is its claim."""
