"""Composing and resolving configurations, and their checks."""
