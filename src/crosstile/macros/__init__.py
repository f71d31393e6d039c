"""Charge-domain SRAM macros: a whole multi-bit dot product, with ReLU, in one cycle and one conversion."""
