"""The cost model against published silicon: ``crosstile validate``.

A macro is described like a chip, without any figure of energy or area of its own; the library's components give the
prediction, and :mod:`crosstile.validation.calibrate` says how well one constant a technology class would do.
"""
