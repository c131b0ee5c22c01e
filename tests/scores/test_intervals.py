"""The bootstrap against a naive one with the same draws, and against the truth in simulations."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from hlmat_bench.core.errors import UsageError
from hlmat_bench.scores.intervals import bootstrap, bootstrap_difference


def simulated(rng, images, mean=0.7):
    """Draw samples of images that differ: names of images, IoUs, intersections and unions."""
    names, ious, unions = [], [], []
    for number in range(images):
        ease = rng.normal(0, 0.15)
        for _ in range(rng.integers(1, 6)):
            names.append(f"image {number}")
            ious.append(np.clip(mean + ease + rng.normal(0, 0.05), 0, 1))
            unions.append(rng.integers(50, 5000))
    ious, unions = np.array(ious), np.array(unions)
    return np.array(names), ious, np.rint(ious * unions), unions


def naive(names, statistics, resamples, seed):
    """Draw images one by one, gather their samples, compute each statistic: (resamples, S)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    images = sorted(set(names))
    members = {image: np.flatnonzero(names == image) for image in images}
    draws = []
    for _ in range(resamples):
        drawn = [images[i] for i in rng.integers(len(images), size=len(images))]
        samples = np.concatenate([members[image] for image in drawn])
        draws.append([statistic(samples) for statistic in statistics])
    return np.array(draws)


def test_is_the_naive_bootstrap():
    names, ious, inter, union = simulated(np.random.default_rng(0), 40)
    draws = naive(names, [lambda s: ious[s].mean(), lambda s: inter[s].sum() / union[s].sum()], 300, seed=7)
    interval = bootstrap(
        np.stack([ious, inter], 1), np.stack([np.ones_like(ious), union], 1), names, resamples=300, seed=7
    )
    np.testing.assert_allclose(interval.low, np.percentile(draws, 2.5, axis=0), rtol=1e-12)
    np.testing.assert_allclose(interval.high, np.percentile(draws, 97.5, axis=0), rtol=1e-12)
    narrower = bootstrap(ious, np.ones_like(ious), names, resamples=300, seed=7, level=0.5)
    np.testing.assert_allclose(narrower.low, [np.percentile(draws[:, 0], 25)], rtol=1e-12)
    np.testing.assert_allclose(narrower.high, [np.percentile(draws[:, 0], 75)], rtol=1e-12)


def test_difference_is_the_naive_paired_bootstrap():
    names, ious, _, union = simulated(np.random.default_rng(1), 30)
    other = np.clip(ious - 0.02 + np.random.default_rng(2).normal(0, 0.02, ious.size), 0, 1)

    def ciou(values, samples):
        return (values * union)[samples].sum() / union[samples].sum()

    draws = naive(
        names,
        [lambda s: ious[s].mean() - other[s].mean(), lambda s: ciou(ious, s) - ciou(other, s)],
        200,
        seed=3,
    )
    ones = np.ones_like(ious)
    low, high = bootstrap_difference(
        (np.stack([ious, ious * union], 1), np.stack([ones, union], 1)),
        (np.stack([other, other * union], 1), np.stack([ones, union], 1)),
        names,
        resamples=200,
        seed=3,
    )
    np.testing.assert_allclose(low, np.percentile(draws, 2.5, axis=0), atol=1e-12)
    np.testing.assert_allclose(high, np.percentile(draws, 97.5, axis=0), atol=1e-12)
    alone = bootstrap(ious, ones, names, resamples=200)
    assert high[0] - low[0] < (alone.high[0] - alone.low[0]) / 3
    assert low[0] > 0


def test_a_run_does_not_differ_from_itself():
    names, ious, _, _ = simulated(np.random.default_rng(1), 30)
    run = ious, np.ones_like(ious)
    assert bootstrap_difference(run, run, names) == (0, 0)


def test_holds_the_truth_as_often_as_it_says_only_with_clusters():
    rng = np.random.default_rng(4)
    hits = {"by image": 0, "by sample": 0}
    trials = 300
    for seed in range(trials):
        ease = rng.normal(0, 0.1, 60)
        names = np.repeat(np.arange(60), 5)
        values = 0.6 + ease[names] + rng.normal(0, 0.03, names.size)
        for key, clusters in (("by image", names), ("by sample", np.arange(names.size))):
            low, high = bootstrap(values, np.ones_like(values), clusters, resamples=300, seed=seed)
            hits[key] += bool(low[0] <= 0.6 <= high[0])
    assert 0.90 <= hits["by image"] / trials <= 0.98
    assert hits["by sample"] / trials < 0.75


def test_same_seed_same_interval_in_any_order_of_samples():
    names, ious, inter, union = simulated(np.random.default_rng(5), 50)
    order = np.random.default_rng(6).permutation(ious.size)
    first, again = bootstrap(inter, union, names), bootstrap(inter[order], union[order], names[order].tolist())
    np.testing.assert_allclose(first, again, rtol=1e-12)
    assert bootstrap(inter, union, names, seed=1) != first
    codes = np.unique(names, return_inverse=True)[1]
    assert bootstrap(inter, union, codes) == first


def test_one_image_has_no_width_and_empty_unions_count_as_one():
    assert bootstrap([0.2, 0.4], [1, 1], ["a", "a"]) == pytest.approx((0.3, 0.3))
    assert bootstrap([0.0, 0.0], [0.0, 0.0], ["a", "b"]) == (1, 1)


def test_memory_stays_small():
    samples = 30_000
    values = np.random.default_rng(0).random((samples, 2))
    ones, images = np.ones((samples, 2)), np.arange(samples)
    bootstrap(values, ones, images, resamples=2)
    tracemalloc.start()
    bootstrap(values, ones, images, resamples=60)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


@pytest.mark.parametrize(
    ("numerators", "denominators", "clusters"),
    [([], [], []), ([1.0], [1.0, 1.0], ["a"]), ([1.0, 1.0], [1.0, 1.0], ["a"]), (np.ones((2, 3)), np.ones(2), [0, 1])],
)
def test_refuses_what_has_no_interval(numerators, denominators, clusters):
    with pytest.raises(UsageError, match="interval"):
        bootstrap(numerators, denominators, clusters)
