"""Partitions of networks over chips against enumeration of all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstile.errors import SpecError
from crosstile.mapping.plan import plan_layer
from crosstile.specs.load import load_chip
from crosstile.system.partition import (
    Item,
    check_places,
    cut_bits,
    items_of,
    partition,
    partition_chain,
    partition_exact,
    refine,
    transfers,
)
from crosstile.workloads.table import network


@st.composite
def graphs(draw: st.DrawFn, most: int) -> tuple[Item, ...]:
    items = []
    for index in range(draw(st.integers(1, most))):
        sources = draw(st.sets(st.integers(0, index - 1), min_size=1, max_size=3)) if index else set()
        arrays, bits = draw(st.integers(0, 3)), draw(st.integers(0, 9))
        items.append(Item(f"n{index}", 0, arrays, bits, tuple(sorted(sources))))
    return tuple(items)


def _least(items: Sequence[Item], places: Iterable[Sequence[int]], chips: int, limit: int) -> int | None:
    """Return the least cut of the places that have room, from the definition of the cut."""
    found = []
    for place in places:
        load = [sum(item.arrays for item, chip in zip(items, place, strict=True) if chip == c) for c in range(chips)]
        if max(load) <= limit:
            pairs = {(u, place[v]) for v, item in enumerate(items) for u in item.inputs if place[u] != place[v]}
            found.append(sum(items[u].bits for u, _ in pairs))
    return min(found, default=None)


@settings(deadline=None, max_examples=60)
@given(graphs(9), st.integers(1, 4), st.integers(3, 8))
def test_partition_in_order_is_the_best_in_order(items: tuple[Item, ...], chips: int, limit: int) -> None:
    borders = (b for r in range(chips) for b in itertools.combinations(range(1, len(items)), r))
    places = ([sum(i >= b for b in border) for i in range(len(items))] for border in borders)
    wanted = _least(items, places, chips, limit)
    if wanted is None:
        with pytest.raises(SpecError, match="do not fit"):
            partition_chain(items, chips, limit)
        return
    place = partition_chain(items, chips, limit)
    check_places(items, place, chips, limit)
    assert list(place) == sorted(place)
    assert cut_bits(items, place) == wanted
    refined = refine(items, place, chips, limit)
    check_places(items, refined, chips, limit)
    assert cut_bits(items, refined) <= wanted


@settings(deadline=None, max_examples=25)
@given(graphs(6), st.integers(1, 3), st.integers(3, 8))
def test_exact_partition_is_the_best_of_all(items: tuple[Item, ...], chips: int, limit: int) -> None:
    wanted = _least(items, itertools.product(range(chips), repeat=len(items)), chips, limit)
    if wanted is None:
        with pytest.raises(SpecError, match="do not fit"):
            partition_exact(items, chips, limit)
        return
    place = partition_exact(items, chips, limit)
    check_places(items, place, chips, limit)
    assert cut_bits(items, place) == wanted


@settings(deadline=None, max_examples=40)
@given(graphs(12), st.data())
def test_traffic_is_conserved(items: tuple[Item, ...], data: st.DataObject) -> None:
    place = [data.draw(st.integers(0, 2)) for _ in items]
    moved = transfers(items, place)
    received = {(t.item, t.target) for t in moved}
    for index, item in enumerate(items):  # whoever reads from another chip has been sent it, once
        for source in item.inputs:
            if place[source] != place[index] and items[source].bits:
                assert (source, place[index]) in received
    assert len(received) == len(moved)
    assert all(t.source == place[t.item] != t.target for t in moved)
    assert sum(t.bits for t in moved) == cut_bits(items, place)
    assert cut_bits(items, [0] * len(items)) == 0


def test_large_layers_are_cut_and_nothing_is_lost() -> None:
    net, chip = network("resnet18"), load_chip("isaac")
    arrays = {shape.name: plan_layer(shape, chip).arrays for shape in net.shapes}
    items = items_of(net, arrays, 8, 300)
    assert sum(item.arrays for item in items) == sum(arrays.values())
    assert max(item.arrays for item in items) <= 300 < max(arrays.values())
    whole = sum(node.elements * 8 for node in net.nodes if node.kind != "input")
    assert sum(item.bits for item in items) == whole


def test_tight_packages_get_finer_pieces() -> None:
    net, chip = network("resnet18"), load_chip("isaac")
    arrays = {shape.name: plan_layer(shape, chip).arrays for shape in net.shapes}
    total = sum(arrays.values())
    chips = 8
    limit = -(-total // chips) + 20
    items, place = partition(net, arrays, 8, chips, limit)
    check_places(items, place, chips, limit)
    with pytest.raises(SpecError, match=f"{chips} chips are the least|{chips} chip"):
        partition_chain(items_of(net, arrays, 8, limit), chips, limit)
    full = -(-total // chips)  # not one array to spare: layers are cut where a chip is full
    items, place = partition(net, arrays, 8, chips, full)
    check_places(items, place, chips, full)
    assert sum(item.arrays for item in items) == total
    assert sum(item.bits for item in items) == sum(node.elements * 8 for node in net.nodes if node.kind != "input")
    with pytest.raises(SpecError, match="are the least for so many arrays"):
        partition(net, arrays, 8, chips, full - 1)


def test_the_exact_partition_refuses_large_graphs() -> None:
    items = items_of(network("resnet50"), dict.fromkeys((s.name for s in network("resnet50").shapes), 1), 8, 10)
    with pytest.raises(SpecError, match="use the partition in order"):
        partition_exact(items, 8, 10)
