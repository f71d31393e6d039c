"""Converters and, later, the exact circuit solution."""
