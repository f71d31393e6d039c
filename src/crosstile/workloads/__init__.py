"""Networks by their shapes: what a schedule, a partition or an estimate needs, without weights, data or PyTorch."""
