"""Layers that compute on arrays."""
