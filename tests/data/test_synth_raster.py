"""How much of a pixel a drawing of the synthetic scenes covers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hlmat_bench.data.synth.raster import RasterShape, coverage


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(-60, 260), st.integers(-60, 260)), min_size=3, max_size=7),
        min_size=1,
        max_size=3,
    )
)
def test_coverage_counts_samples_inside(polygons: list[list[tuple[int, int]]]) -> None:
    """Against winding numbers of single points, by cross products instead of divisions."""
    got = coverage(RasterShape.of(polygons), (1, 2, 9, 10))
    for y in range(2, 10, 3):
        for x in range(1, 9, 3):
            points = [(16 * x + 4 * i + 2, 16 * y + 4 * j + 2) for i in range(4) for j in range(4)]
            assert got[y - 2, x - 1] == 16 * sum(winding(polygons, *point) > 0 for point in points)


def winding(polygons: list[list[tuple[int, int]]], x: int, y: int) -> int:
    turns = 0
    for polygon in polygons:
        for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            side = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
            if by <= y < ay and side > 0:
                turns += 1
            elif ay <= y < by and side < 0:
                turns -= 1
    return turns


def test_coverage_of_a_square_by_hand() -> None:
    square = RasterShape.of([[(16, 16), (40, 16), (40, 32), (16, 32)]])
    assert coverage(square, (0, 0, 4, 3)).tolist() == [[0, 0, 0, 0], [0, 256, 128, 0], [0, 0, 0, 0]]
    hole = RasterShape.of([[(16, 20), (16, 28), (32, 28), (32, 20)]])
    assert coverage(square + hole, (0, 0, 4, 3))[1].tolist() == [0, 128, 128, 0]
