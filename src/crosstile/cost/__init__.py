"""Energy, time and area of a network on a chip, from counts of work; runs no network, needs no torch.

The entry is :func:`crosstile.cost.estimate.estimate`. Nothing is imported here: the specs look component
names up in :mod:`crosstile.cost.library` while they are being imported themselves.
"""
