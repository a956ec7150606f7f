"""What the network of a run makes of new images: their labels, and the classes that are similar to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as member
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow.compute import field
from scipy.special import softmax

from labelsim.analysis.calibration import image_scores
from labelsim.analysis.class_moments import class_means, of_classes
from labelsim.analysis.new_images import NewImages, image_features, load_network, working_folder
from labelsim.dataset.imagenet import imagenet_names
from labelsim.errors import LabelsimError
from labelsim.methods import METHODS, stores
from labelsim.network.outputs import output_labels
from labelsim.run import Run
from labelsim.statistics.conformal import LEVEL, prediction_sets, threshold
from labelsim.statistics.moments import total
from labelsim.statistics.nearest import contributions, cosines, descending, largest_deviation, standardized
from labelsim.storage.moment_store import channel_blocks
from labelsim.storage.zarr_store import load, open_store

if TYPE_CHECKING:
    import xarray

__all__ = ["Channel", "Explanation", "Label", "NearClass", "PredictionSet", "explain"]


@dataclass(frozen=True)
class Label:
    """An output of the network: the class it stands for, and its probability.

    `class_index` is null for a class that the run does not have, `class_id` for an output that stands for no known
    class; its name is then its number.
    """

    output: int
    class_index: int | None
    class_id: str | None
    class_name: str
    probability: float


@dataclass(frozen=True)
class PredictionSet:
    """Labels that hold an image's own with a probability of `level`, the most probable first.

    `images` is the number of images that it was calibrated with, and `threshold` the largest 1 - probability of a label
    in it: null if they are too few, so that it holds all labels.
    """

    level: float
    images: int
    threshold: float | None
    labels: list[Label]


@dataclass(frozen=True)
class NearClass:
    """A class near an image by its hidden state (`hidden`) or by its channels and Welch's t of the class (`welch`)."""

    by: str
    rank: int
    class_index: int
    class_id: str
    class_name: str
    similarity: float


@dataclass(frozen=True)
class Channel:
    """A channel's part in the similarity of an image and the class nearest to it by its channels.

    The contributions of all channels add up to the similarity, of which `share` is a fraction. `image_value` is the
    image's deviation from the mean of all images, in standard deviations, and `class_value` is Welch's t of the class.
    """

    rank: int
    layer: str
    layer_channel: int
    contribution: float
    share: float | None
    image_value: float
    class_value: float


@dataclass(frozen=True)
class Explanation:
    """What the network makes of an image.

    Attributes
    ----------
    image : str
        Its path.
    reason : str
        Why it cannot be used; empty if it can.
    labels : list of Label
        The most probable ones.
    prediction_set : PredictionSet or None
        None if it cannot be calibrated.
    similar : list of dict
        Rows of `neighbors.parquet` for the most probable label, under the group `all`, with the columns of
        `stability.parquet` where the run has it.
    nearest : list of NearClass
        The classes nearest to the image.
    channels : list of Channel
        Those that contribute most to the similarity of the first of these by `welch`.
    notes : list of str
        Why something is missing.
    """

    image: str
    reason: str = ""
    labels: list[Label] = member(default_factory=list)
    prediction_set: PredictionSet | None = None
    similar: list[dict[str, Any]] = member(default_factory=list)
    nearest: list[NearClass] = member(default_factory=list)
    channels: list[Channel] = member(default_factory=list)
    notes: list[str] = member(default_factory=list)


def explain(run: Run, images: Sequence[Path], k: int = 5) -> list[Explanation]:
    """Explain images by the classes of a run.

    Parameters
    ----------
    run : Run
        A finished run.
    images : sequence of Path
        Image files.
    k : int
        Most items of each list, the prediction set excepted.

    Returns
    -------
    list of Explanation
        One for each image.

    Raises
    ------
    LabelsimError
        If a file of the run is missing or damaged, or its network or the classes of its outputs are not what they were.
    """
    settings = run.provenance()
    found = image_features(load_network(run, settings), settings["precision"], images)
    usable = [image for image, reason in zip(images, found.reasons, strict=True) if not reason]
    explained = _explained(run, settings, usable, found, k)
    return [
        Explanation(str(image), reason) if reason else next(explained)
        for image, reason in zip(images, found.reasons, strict=True)
    ]


def _explained(
    run: Run, settings: Mapping[str, Any], images: Sequence[Path], found: NewImages, k: int
) -> Iterator[Explanation]:
    """The explanations of images that can be used."""
    # A store may be left from when the run had other methods.
    made = stores(settings["similarity"]["methods"])
    moments, welch = run.moments(), run.welch() if "welch" in made else None
    classes, outputs = run.classes().to_pydict(), _outputs(run, settings, moments)
    neighbors = run.stable_neighbors()
    probability = softmax(found.logits.astype(np.float64), axis=1)
    limit, calibrated = _calibration(run, made, moments) if outputs else (np.inf, 0)
    sets = prediction_sets(probability, np.full(len(images), limit))
    hidden = _by_hidden(moments, found.hidden)
    channels = None if welch is None else _by_channels(moments, welch, found.gap)
    for row, image in enumerate(images):
        labels = _labels(probability[row], outputs, classes)
        likely = PredictionSet(LEVEL, calibrated, limit if np.isfinite(limit) else None, labels[: sets[row].sum()])
        similar = _similar(neighbors, labels[0], k)
        near = _nearest("hidden", hidden[row], classes, k)
        notes = _notes_on_labels(labels[0], outputs, calibrated, similar, classes["notes"])
        carrying: list[Channel] = []
        if welch is None or channels is None:
            notes.append("no nearest classes by channels: welch is not one of the run's methods")
        else:
            by_channels = _nearest("welch", channels.cosine[row], classes, k)
            near += by_channels
            carrying = _channels(welch, channels.values[row], by_channels[0], k) if by_channels else []
            if beyond := channels.limited[row]:
                notes.append(
                    f"{beyond:,} of {len(channels.values[row]):,} channels deviate more from the mean than any of the "
                    f"run's images can (limited to {channels.limit:.1f} standard deviations): this image is unlike "
                    "them, so its nearest classes are uncertain"
                )
        yield Explanation(str(image), "", labels[:k], likely if calibrated else None, similar, near, carrying, notes)


def _outputs(run: Run, settings: Mapping[str, Any], moments: xarray.Dataset) -> list[str] | None:
    """Class id of each output, where known; as they were when the moments were computed."""
    description, ids = run.network(), load(moments, "class_id").tolist()
    with working_folder(run):
        outputs = output_labels(settings["model"]["classes"], description, ids)
    now = {id_: output for output, id_ in enumerate(outputs or ())}
    images = load(moments, "count").sum(axis=0)  # the output of a class without images may not be stored
    for id_, output, number in zip(ids, load(moments, "output_index").tolist(), images, strict=True):
        if outputs and number and now.get(id_, -1) != output:
            raise LabelsimError(
                f"model.classes: {settings['model']['classes']} was changed after the run was made: the class {id_} "
                "has another output now"
            )
    return outputs


def _calibration(run: Run, made: Sequence[str], moments: xarray.Dataset) -> tuple[float, int]:
    """The threshold of prediction sets, and the number of images that it was calibrated with."""
    if "conformal" in made:
        found = open_store(Path(run.paths.conformal)).attrs
        return np.inf if found["threshold"] is None else found["threshold"], found["sets"]["images"]
    shards = (open_store(Path(run.paths.features(shard))) for shard in run.shards())
    score = np.concatenate([image_scores(shard, moments) for shard in shards])
    score = score[~np.isnan(score)]
    return threshold(score), len(score)


def _by_hidden(moments: xarray.Dataset, hidden: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosines of images with the class means of the hidden state."""
    parts = (hidden[:, part] for part in channel_blocks(hidden.shape[1]))
    return cosines(zip(parts, class_means(moments, "hidden"), strict=True))


class _ByChannels(NamedTuple):
    """N images, standardized, and compared with Welch's t of the C classes.

    No channel deviates more than `limit`, the most that one of the run's own images can. Else channels that are all but
    constant in the run, in which a new image may deviate by thousands of standard deviations, would be all that counts.
    """

    values: NDArray[np.float64]  # (N, D); 0 in channels that are not usable
    limit: float
    limited: NDArray[np.int64]  # (N,), number of channels
    cosine: NDArray[np.float64]  # (N, C)


def _by_channels(moments: xarray.Dataset, welch: xarray.Dataset, gap: NDArray[np.floating]) -> _ByChannels:
    usable, values, limited = load(welch, "usable"), np.empty(gap.shape), np.zeros(len(gap), np.int64)
    limit = largest_deviation(int(load(moments, "count").sum()))

    def blocks() -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        for part, block in zip(channel_blocks(len(usable)), of_classes(moments, "gap"), strict=True):
            # 0 adds nothing to a product or a norm.
            found = np.where(usable[part], standardized(gap[:, part], total(block)), 0.0)
            limited[:] += (np.abs(found) > 1.0001 * limit).sum(axis=1)  # rounding may put the run's own beyond it
            values[:, part] = np.clip(found, -limit, limit)
            yield values[:, part], np.where(usable[part], load(welch, "t", channel=part), 0.0)

    return _ByChannels(values, limit, limited, cosines(blocks()))


def _labels(
    probability: NDArray[np.float64], outputs: Sequence[str] | None, classes: Mapping[str, Sequence[Any]]
) -> list[Label]:
    """All labels, the most probable first."""
    index = {id_: i for i, id_ in enumerate(classes["class_id"])}

    def label(output: int) -> Label:
        id_ = outputs[output] if outputs else None
        if id_ is None:
            name = f"output {output}"
        else:
            name = classes["class_name"][index[id_]] if id_ in index else imagenet_names().get(id_, id_)
        return Label(output, index.get(id_), id_, name, float(probability[output]))

    return [label(output) for output in descending(probability, len(probability)).tolist()]


def _similar(neighbors: pa.Table, label: Label, k: int) -> list[dict[str, Any]]:
    if label.class_index is None:
        return []
    chosen = (field("group") == "all") & (field("class_index") == label.class_index) & (field("rank") <= k)
    rows: list[dict[str, Any]] = neighbors.filter(chosen).to_pylist()
    order = list(METHODS)
    return sorted(rows, key=lambda row: (order.index(row["method"]), row["rank"]))


def _nearest(by: str, similarity: NDArray[np.float64], classes: Mapping[str, Sequence[Any]], k: int) -> list[NearClass]:
    return [
        NearClass(by, rank, index, classes["class_id"][index], classes["class_name"][index], float(similarity[index]))
        for rank, index in enumerate(descending(similarity, k).tolist(), start=1)
    ]


def _channels(welch: xarray.Dataset, standard: NDArray[np.float64], near: NearClass, k: int) -> list[Channel]:
    (t,) = load(welch, "t", **{"class": slice(near.class_index, near.class_index + 1)})
    t = np.where(load(welch, "usable"), t, 0.0)
    values, layer, number = contributions(standard, t), load(welch, "layer"), load(welch, "layer_channel")
    return [
        Channel(
            rank,
            str(layer[j]),
            int(number[j]),
            float(values[j]),
            float(values[j]) / near.similarity if near.similarity else None,
            float(standard[j]),
            float(t[j]),
        )
        for rank, j in enumerate(descending(values, k).tolist(), start=1)
    ]


def _notes_on_labels(
    label: Label, outputs: Sequence[str] | None, calibrated: int, similar: Sequence[Any], of_classes: Sequence[str]
) -> list[str]:
    """Why there is no prediction set, or no similar label."""
    if outputs is None:
        return [
            "labels are numbers of outputs, without prediction set and similar labels: the run does not know which "
            "class each output stands for (model.classes)"
        ]
    notes = []
    if not calibrated:
        notes.append("no prediction set: no class of the run that has images is one of the network's outputs")
    if label.class_index is None:
        notes.append(f"no similar labels: {label.class_name} is not a class of the run")
    elif not similar:
        notes.append(f"no similar labels of {label.class_name}: {of_classes[label.class_index]}")
    return notes
