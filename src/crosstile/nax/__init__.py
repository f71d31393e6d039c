"""NAX: kernel sizes and array sizes of a network searched together, by gradient."""
