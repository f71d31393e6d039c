"""Laying a network on arrays: plans, capture, calibration, replacement."""
