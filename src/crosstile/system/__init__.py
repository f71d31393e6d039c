"""Whole chips as systems: where their layers stand, how warm they get, and what that does to them."""
