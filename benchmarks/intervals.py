"""Intervals: whether the jackknife's 95 % intervals of similarities hold the true values 95 % of the time.

The images of a finished run are the population. Images of each class are drawn with replacement, as many as a dataset
could have, and put into folds at random. Similarities, their correction, errors and intervals are computed as in a run,
and compared with the similarity that so many images would have without noise, from the population's moments.

    make demo && python benchmarks/intervals.py    # handwritten digits
    python benchmarks/intervals.py --run results/photos --nearest 9 --draws 40

The table has a row for each number of images a class, method and scale: that of the method, and another. Its figures
are means over each class and those that are nearest to it in the population, but `listed`, which is of those that are
nearest in the draw, as in `neighbors.parquet`:

bias, bias_corrected     of the similarity and the corrected one, in standard deviations of the similarity
stderr                   mean standard error, in true standard deviations of the corrected similarity
around_similarity        share of the intervals around the similarity that hold the true value
around_corrected         the same around the corrected similarity
normal                   the same with 1.96 instead of Student's t
listed                   as `around_corrected`
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import results
from numpy.typing import NDArray
from scipy.special import softmax

from labelsim.methods import METHODS, MOMENTS
from labelsim.run import Run, open_run
from labelsim.stages.moments import FOLDS
from labelsim.statistics import similarity
from labelsim.statistics.conformal import LEVEL, prediction_sets, scores, threshold
from labelsim.statistics.moments import Moments, empty, rest, total
from labelsim.statistics.neighbors import top_k
from labelsim.statistics.stability import SCALES, Scale, jackknife
from labelsim.statistics.welch import usable_channels, welch

IMAGES = (30, 50, 300, 1000)  # a class
GOAL = (0.90, 0.98)
NORMAL = 1.96
SCALES["none"] = Scale(lambda x: x, lambda z: z, np.ones_like)
SCALES["log"] = Scale(lambda x: -np.log(-x), lambda z: -np.exp(-z), lambda x: -x)
OTHER = {"linear": "log"}  # scale to compare with; "none" by default

Matrices = dict[str, NDArray[np.float64]]  # by method


@dataclass(frozen=True)
class Population:
    """All images of a run.

    Attributes
    ----------
    values : dict of str to list of (images, dimension) array
        Key of `MOMENTS` to the values of each class's images.
    outputs : (C,) array
        The output that stands for each class.
    """

    values: dict[str, list[NDArray[np.floating]]]
    outputs: NDArray[np.int64]

    @classmethod
    def of(cls, run: Run) -> Population:
        """Read the features of a run."""
        shards = [run.features(shard) for shard in run.shards()]
        read = {name: np.concatenate([shard[name].values for shard in shards]) for name in ("gap", "hidden", "logits")}
        read["probability"] = softmax(read.pop("logits").astype(np.float64), axis=1)
        labels = np.concatenate([shard["class_index"].values for shard in shards])
        labels[np.isnan(read["hidden"]).any(axis=1)] = -1  # images that could not be used
        outputs = run.moments()["output_index"].values
        members = [np.flatnonzero(labels == c) for c in range(len(outputs))]
        return cls({name: [read[name][rows] for rows in members] for name in MOMENTS}, outputs)

    @cached_property
    def methods(self) -> list[str]:
        """Methods that depend on the images and can be computed."""
        known = bool((self.outputs >= 0).all())
        return [name for name, method in METHODS.items() if method.store != "head" and (known or not method.by_output)]

    @cached_property
    def scores(self) -> list[NDArray[np.float64]]:
        """Nonconformity scores of each class's images."""
        pairs = zip(self.values["probability"], self.outputs, strict=True)
        return [scores(probability, np.full(len(probability), output)) for probability, output in pairs]


@dataclass(frozen=True)
class Sample:
    """What similarities are computed from: of all folds but one for each fold, and at last of all folds.

    Attributes
    ----------
    moments : dict of str to Moments
        count (F + 1, C), mean and m2 (F + 1, C, dimension), by key of `MOMENTS`.
    shares : (F + 1, C, outputs) array
        Share of the prediction sets of a class that hold an output.
    """

    moments: dict[str, Moments]
    shares: NDArray[np.float64]

    def matrices(self, methods: Iterable[str], outputs: NDArray[np.int64]) -> Matrices:
        """Similarities, (F + 1, C, C); the same as from `labelsim.analysis.matrices`, which reads stores."""
        replicates = range(len(self.shares))
        return {name: np.array([self._matrix(name, outputs, i) for i in replicates]) for name in methods}

    def _matrix(self, name: str, outputs: NDArray[np.int64], replicate: int) -> NDArray[np.float64]:
        method, moments = METHODS[name], self.moments[METHODS[name].variable]
        every, (count, mean, m2) = moments.count[-1], moments.at(replicate)
        columns: Any = mean
        if method.store == "welch" or method.function == "pairwise":
            columns = Moments(every, mean, m2 * ((every - 1) / (count - 1))[:, np.newaxis])
        if method.store == "welch":
            columns = welch(columns).t
            columns[:, ~usable_channels(columns)] = 0
        elif method.function == "mutual":
            columns = (self.shares[replicate] if method.store == "conformal" else mean)[:, outputs]
        elif method.centered:
            columns = similarity.centered(mean, every)
        groups = np.ones((1, mean.shape[1]), dtype=bool)
        ((matrix,),) = getattr(similarity, method.function)(lambda: [columns], len(count), groups)
        return matrix


def true(population: Population, images: int) -> Sample:
    """What a sample of so many images of each class would be without noise."""
    moments = {}
    for name, every in population.values.items():
        mean = np.array([values.mean(axis=0, dtype=np.float64) for values in every])
        variance = np.array([values.var(axis=0, dtype=np.float64) for values in every])
        moments[name] = Moments(np.full((1, len(every)), images), mean[np.newaxis], (images - 1) * variance[np.newaxis])
    weights = np.concatenate([np.full(len(score), 1 / len(score)) for score in population.scores])
    limit = np.quantile(np.concatenate(population.scores), LEVEL, weights=weights, method="inverted_cdf")
    shares = [prediction_sets(p, np.full(len(p), limit)).mean(axis=0) for p in population.values["probability"]]
    return Sample(moments, np.array([shares]))


def draw(population: Population, images: int, random: np.random.Generator) -> Sample:
    """Draw so many images of each class with replacement, each into a fold at random."""
    drawn = []  # of each class, how many times each image is in each fold
    for score in population.scores:
        shape = FOLDS, len(score)
        drawn.append(random.multinomial(images, np.full(shape, 1 / np.prod(shape)).ravel()).reshape(shape))
    moments = {}
    for name, every in population.values.items():
        moments[name] = empty((FOLDS + 1, len(every)), every[0].shape[1])
        for c, (values, times) in enumerate(zip(every, drawn, strict=True)):
            by_fold = moments_of(values, times)
            moments[name].put((slice(FOLDS), c), rest(by_fold))
            moments[name].put((FOLDS, c), total(by_fold))
    score, times = np.concatenate(population.scores), np.concatenate(drawn, axis=1)
    calibration = times.sum(axis=0) - times
    limits = [threshold(np.repeat(score, n)) for n in calibration]
    held = np.array(
        [
            [n @ prediction_sets(p, np.full(len(p), limit)) for n, limit in zip(times, limits, strict=True)]
            for p, times in zip(population.values["probability"], drawn, strict=True)
        ]
    ).swapaxes(0, 1)
    whole = held.sum(axis=0)
    shares = np.concatenate([whole - held, whole[np.newaxis]]) / moments["hidden"].count[..., np.newaxis]
    return Sample(moments, shares)


def moments_of(values: NDArray[np.floating], times: NDArray[np.int64]) -> Moments:
    """Moments of images by fold, each as many times, (fold, image), as it was drawn."""
    least = values.min(axis=0).astype(np.float64)
    above = values - least  # exactly 0 for a ReLU that was silent, so that it has no variance
    count = times.sum(axis=1)
    mean = times @ above / np.maximum(count, 1)[:, np.newaxis]
    m2 = times @ above**2 - count[:, np.newaxis] * mean**2
    return Moments(count, np.where(count[:, np.newaxis] > 0, least + mean, 0), np.maximum(m2, 0))


def rows(
    method: str, exact: NDArray[np.float64], found: NDArray[np.float64], used: NDArray[np.bool_], nearest: int
) -> list[dict[str, Any]]:
    """The figures of a method by scale.

    Parameters
    ----------
    method : str
        A key of `METHODS`.
    exact : (C, C) array
        True similarities.
    found : (draw, F + 1, C, C) array
        Those of the draws, without each fold and with all.
    used : (draw, F, C, C) array
        Replicates without some images of either class.
    nearest : int
        How many classes to look at for each.
    """
    whole, replicates, used = found[:, -1], found[:, :-1].swapaxes(0, 1), used.swapaxes(0, 1)
    near, listed = among_nearest(exact, nearest), np.array([among_nearest(one, nearest) for one in whole])
    spread = whole.std(axis=0, ddof=1)
    result = []
    own = METHODS[method].scale
    for scale in (own, OTHER.get(own, "none")):
        forward = SCALES[scale].forward
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate = jackknife(whole, replicates, used, scale)
            z = jackknife(forward(whole), forward(replicates), used, "none")
            off, off_corrected = (np.abs(center - forward(exact)) for center in (forward(whole), z.corrected))
            inside = (estimate.low <= exact) & (exact <= estimate.high)
            figures = {
                "bias": (whole.mean(axis=0) - exact) / spread,
                "bias_corrected": (estimate.corrected.mean(axis=0) - exact) / spread,
                "stderr": estimate.stderr.mean(axis=0) / estimate.corrected.std(axis=0, ddof=1),
                "around_similarity": (off <= (z.high - z.low) / 2).mean(axis=0),
                "around_corrected": inside.mean(axis=0),
                "normal": (off_corrected <= NORMAL * z.stderr).mean(axis=0),
            }
        # Without a share that ever differs from 0 there is no standard deviation.
        means = {name: figure[near & (spread > 0)].mean() for name, figure in figures.items()}
        means["listed"] = inside[listed].mean()
        result.append({"method": method, "scale": scale} | {name: round(float(x), 3) for name, x in means.items()})
    return result


def among_nearest(matrix: NDArray[np.float64], k: int) -> NDArray[np.bool_]:
    """The k nearest classes of each class, as a mask of the matrix."""
    result = np.zeros(matrix.shape, dtype=bool)
    found = top_k(matrix, k)
    result[found.class_index, found.neighbor_index] = True
    return result


def main() -> None:
    """Draw, compare and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="results/demo", help="a finished run, whose images are the population")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--nearest", type=int, default=3, help="how many nearest classes of each class to look at")
    options = parser.parse_args()
    run = open_run(options.run)
    population, random = Population.of(run), np.random.default_rng(0)
    table = []
    for images in IMAGES:
        exact = true(population, images).matrices(population.methods, population.outputs)
        found: dict[str, list[NDArray[np.float64]]] = {method: [] for method in population.methods}
        used = []
        for _ in range(options.draws):
            sample = draw(population, images, random)
            for method, matrices in sample.matrices(population.methods, population.outputs).items():
                found[method].append(matrices)
            left_out = sample.moments["hidden"].count[-1] > sample.moments["hidden"].count[:-1]
            used.append(left_out[:, :, np.newaxis] | left_out[:, np.newaxis])
        for method, matrices in found.items():
            some = rows(method, exact[method][0], np.array(matrices), np.array(used), options.nearest)
            table += [{"images": images} | row for row in some]
        show([row for row in table if row["images"] == images])
    results.keep(f"intervals-{Path(options.run).name}", table)


def show(table: Sequence[Mapping[str, Any]]) -> None:
    """Print rows, and whether the package's own intervals hold the true value often enough."""
    print(*(f"{name:>17}" for name in table[0]), sep="")
    for row in table:
        missed = row["scale"] == METHODS[row["method"]].scale and not GOAL[0] <= row["around_corrected"] <= GOAL[1]
        print(*(f"{value:>17}" for value in row.values()), "   MISSED" if missed else "", sep="", flush=True)


if __name__ == "__main__":
    main()
