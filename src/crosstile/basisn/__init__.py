"""BasisN: every kernel of a network from one set of basis vectors that is written once (arXiv:2407.03738)."""
