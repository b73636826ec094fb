"""The pure parts of benchmarks.scale."""

import pytest

from benchmarks.scale_measures import growth


def test_growth_is_the_exponent_of_a_power_law() -> None:
    points = [{"recordings": n, "p50_ms": 3 * n**0.4} for n in (100, 1_000, 10_000)]
    assert growth(points, lambda point: float(point["p50_ms"])) == pytest.approx(0.4)


def test_one_size_has_no_growth() -> None:
    assert growth([{"recordings": 100, "p50_ms": 3.0}], lambda point: 1.0) is None
