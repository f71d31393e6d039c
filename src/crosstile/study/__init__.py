"""Experiments: Monte-Carlo over chips, results, reports. The only part that writes files, with the CLI."""
