import pytest
from running import seconds

from labelsim.jobs.clock import PARTS, Clock, advice


@pytest.mark.parametrize("part", PARTS)
def test_the_largest_part_is_named_with_its_share(part):
    others = {other: 1.0 for other in PARTS if other != part}
    said = advice({**others, part: 12.0}, "NVIDIA H100")
    assert " 60 % " in said
    assert part.split("_")[-1] in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("part", "device", "key"),
    [
        ("starting", "cpu", "extract.images_per_shard"),
        ("decoding", "NVIDIA H100", "threads of extract"),
        ("network", "NVIDIA H100", "extract.precision: tf32"),
        ("network", "cpu", "extract.compile"),
        ("download", "NVIDIA H100", "probe.layers"),
    ],
)
def test_advice_names_what_to_set(part, device, key):
    assert key in advice(seconds(1.0) | {part: 9.0}, device)


def test_a_cpu_is_not_told_to_use_what_only_gpus_have():
    assert "tf32" not in advice(seconds(0.0, network=1.0), "cpu")


def test_without_any_time_there_is_no_advice():
    assert advice({}, "cpu") == ""
    assert advice(seconds(0.0), "cpu") == ""


def test_the_parts_add_up_to_the_whole_whatever_the_shares():
    clock = Clock()
    for shares in (
        {"starting": 1},
        {"reading": 2.0, "decoding": 1.0},
        {"network": 0.0, "upload": 0.0},
        {"finishing": 1},
    ):
        before = clock.total
        clock.lap(shares)
        spent = clock.total - before
        assert spent > 0
        assert sum(clock.seconds[part] for part in shares) == pytest.approx(spent, abs=1e-9)  # each part is new
    assert clock.seconds["reading"] == pytest.approx(2 * clock.seconds["decoding"])
    assert list(clock.seconds) == list(PARTS)
