"""From measured cells to a cell description: reading a table, fitting spread, drift and noise, writing YAML."""
