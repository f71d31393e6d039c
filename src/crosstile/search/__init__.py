"""Search over chips and mappings: spaces as data, constraints, and methods behind one ask-and-tell interface."""
