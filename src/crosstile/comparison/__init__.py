"""Memory technologies side by side on one chip: designs, accuracy, errors of sums, cost, and what the knobs bring."""
