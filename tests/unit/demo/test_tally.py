"""Quantiles within their bounds, counts by kind, Prometheus text as numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.demo.tally import Latencies, Traffic, histogram_quantile, parse_samples, total

TEXT = """# HELP overbook_requests_total Requests.
# TYPE overbook_requests_total counter
overbook_requests_total{model="a",path="hot"} 8.0
overbook_requests_total{model="b",path="hot"} 2.0
overbook_requests_total{model="b",path="cold"} 5.0
overbook_up 1
odd{text="with \\" quote, and comma"} 7
nonsense
broken{} x
lat_bucket{phase="total",le="0.1"} 2
lat_bucket{phase="total",le="0.2"} 6
lat_bucket{phase="total",le="+Inf"} 8
lat_bucket{phase="load",le="0.1"} 8
lat_bucket{phase="load",le="+Inf"} 8
empty_bucket{le="+Inf"} 0
"""


@given(
    st.lists(st.floats(min_value=2e-4, max_value=90.0), min_size=1, max_size=200),
    st.sampled_from([0.5, 0.9, 0.99, 1.0]),
)
def test_a_quantile_is_within_one_step_above_the_true_one(
    seconds: list[float], share: float
) -> None:
    latencies = Latencies()
    for value in seconds:
        latencies.add(value)
    true = sorted(seconds)[max(0, -(-int(share * 1000) * len(seconds) // 1000) - 1)]
    found = latencies.quantile(share)
    assert found is not None
    assert true * 0.999 <= found <= true * 10 ** (1 / 20) * 1.001


def test_no_latency_no_quantile_and_very_long_ones_count() -> None:
    latencies = Latencies()
    assert latencies.quantile(0.5) is None
    latencies.add(500.0)
    assert latencies.quantile(0.99) == pytest.approx(100.0)
    assert latencies.largest == 500.0


def test_traffic_counts_by_kind() -> None:
    traffic = Traffic()
    traffic.answered("a", over_grpc=False, again=False, seconds=0.1)
    traffic.answered("a", over_grpc=True, again=True, seconds=0.01)
    assert (traffic.requests, traffic.rest, traffic.grpc) == (2, 1, 1)
    assert (traffic.all.count, traffic.again.count) == (2, 1)
    assert traffic.by_model == {"a": 2}
    assert not traffic.failed
    for number in range(10):
        traffic.problem(f"p{number}", wrong=number % 2 == 0)
    assert (traffic.errors, traffic.wrong) == (5, 5)
    assert traffic.failed
    assert traffic.first_problems == ["p0", "p1", "p2", "p3", "p4"]


def test_samples_and_totals() -> None:
    samples = parse_samples(TEXT)
    assert total(samples, "overbook_requests_total", path="hot") == 10
    assert total(samples, "overbook_requests_total") == 15
    assert total(samples, "overbook_up") == 1
    assert total(samples, "missing") == 0
    odd = next(sample for sample in samples if sample.name == "odd")
    assert odd.labels["text"] == 'with \\" quote, and comma'
    assert not [sample for sample in samples if sample.name in {"nonsense", "broken"}]


def test_histogram_quantiles_as_prometheus_computes_them() -> None:
    samples = parse_samples(TEXT)
    assert histogram_quantile(samples, "lat", 0.5, phase="total") == pytest.approx(0.15)
    assert histogram_quantile(samples, "lat", 0.125, phase="total") == pytest.approx(0.05)
    assert histogram_quantile(samples, "lat", 0.99, phase="total") == 0.2
    assert histogram_quantile(samples, "lat", 0.5, phase="load") == pytest.approx(0.05)
    assert histogram_quantile(samples, "lat", 0.5, phase="nothing") is None
    assert histogram_quantile(samples, "empty", 0.5) is None
