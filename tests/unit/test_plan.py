"""Plans: every weight on an array once, no read longer than allowed, and the counts of one inference by hand."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

import crosstile as ct
from crosstile.mapping.plan import LayerShape, make_packs, plan_layer


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 70), st.sampled_from([1, 3, 9, 25]), st.integers(1, 60), st.integers(1, 9), st.integers(1, 64),
    st.integers(1, 64), st.integers(8, 80),
)  # fmt: skip
def test_each_weight_has_one_place(
    channels: int, area: int, outputs: int, groups: int, rows: int, active: int, columns: int
) -> None:
    active = min(active, rows)
    chip = ct.load_chip("reram-8b").replaced(array__rows=rows, array__columns=columns, array__active_rows=active)
    shape = LayerShape("l", "conv2d", channels, area, outputs, groups, 4, 1, 1, False)
    packs = make_packs(shape, chip)
    assert sum(pack.groups for pack in packs) == groups
    assert [pack.first_group for pack in packs] == [sum(p.groups for p in packs[:i]) for i in range(len(packs))]
    for pack in packs:
        placed = sorted(row for block in pack.blocks for row in block.rows)
        assert placed == list(range(channels * area * pack.groups))
        assert pack.column_blocks * chip.outputs_per_array >= pack.outputs == outputs * pack.groups
        # No array more than the matrix needs, where nothing but its size decides.
        assert len(pack.blocks) == -(-pack.rows // rows)
        for block in pack.blocks:
            assert len(block.rows) <= rows
            assert block.segments[0][0] == 0
            assert block.segments[-1][1] == len(block.rows)
            for (start, stop), following in zip(
                block.segments, [*block.segments[1:], (len(block.rows), 0)], strict=True
            ):
                assert 0 < stop - start <= active
                assert following[0] == stop


def test_counts_of_one_inference_by_hand() -> None:
    """100 x 40 weights, 8 bits in four 2-bit digits, on 32 x 64 arrays that drive 16 rows at a time, 5 positions."""
    chip = ct.load_chip("reram-8b").replaced(array__rows=32, array__columns=64, array__active_rows=16)
    plan = plan_layer(LayerShape("l", "conv1d", 100, 1, 40, 1, 5, 500, 200, True), chip)
    work = plan.activity
    row_blocks, column_blocks = 4, 5  # 25 rows each; 64 columns hold 8 outputs of 8 columns
    assert plan.arrays == row_blocks * column_blocks
    assert plan.utilisation == (100 * 40 * 8) / (20 * 32 * 64)
    planes, phases, segments = 7, 2, 2  # 7-bit magnitudes, positive and negative phase, 16 + 9 rows
    assert work.reads_in_series == planes * phases * segments
    assert work.array_reads == 5 * planes * phases * segments * row_blocks * column_blocks
    assert work.rows_driven == work.dac_conversions == 5 * planes * phases * 100 * column_blocks
    assert work.adc_conversions == work.shift_adds == 5 * planes * phases * segments * row_blocks * 40 * 4
    assert work.digital_adds == 5 * 3 * 40
    assert work.input_register_bits == work.rows_driven
    assert work.buffer_read_bits == 5 * 100 * 8
    assert work.buffer_write_bits == work.network_bits == 200 * 8


def test_pairs_converted_apart_double_the_conversions_and_unit_columns_add_theirs() -> None:
    shape = LayerShape("l", "linear", 32, 1, 8, 1, 1, 32, 8, False)
    chip = ct.load_chip("reram-8b").replaced(array__rows=32, array__columns=65)
    analog = plan_layer(shape, chip).activity.adc_conversions
    digital = plan_layer(shape, chip.replaced(weights__difference="digital")).activity.adc_conversions
    assert (analog, digital) == (8 * 8 * 4, 2 * 8 * 8 * 4)
    offset = chip.replaced(weights__encoding="offset", weights__row_sum="unit_column")
    assert plan_layer(shape, offset).activity.adc_conversions == 8 * (8 * 4 + 1)


def test_depthwise_groups_share_arrays_along_the_diagonal() -> None:
    """Nine rows a group: fourteen groups fill 126 of 128 rows, and one fourteenth of the cells hold weights."""
    chip = ct.load_chip("reram-8b")
    plan = plan_layer(LayerShape("l", "conv2d", 1, 9, 1, 28, 1, 28, 28, False), chip)
    assert plan.arrays == 2
    assert plan.utilisation == 28 * 9 * 8 / (2 * 128 * 128)
