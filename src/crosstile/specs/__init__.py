"""Frozen descriptions of cells, chips and their parts, read from YAML."""
