import logging

from labelsim.dataset.formats.base import Progress


def test_logs_how_far_a_listing_is(caplog):
    caplog.set_level(logging.INFO, "labelsim")
    progress = Progress("archives", 1000, every=0)
    for _ in range(2):
        for _ in range(600):
            progress.image()
        progress.part()
    assert len(caplog.messages) == 1200
    assert caplog.messages[-1] == "Listed 1,200 images, 1 of 1,000 archives"


def test_says_nothing_before_its_time(caplog):
    caplog.set_level(logging.INFO, "labelsim")
    progress = Progress("archives", every=3600)
    progress.image()
    assert caplog.messages == []


def test_a_total_need_not_be_known(caplog):
    caplog.set_level(logging.INFO, "labelsim")
    Progress("archives", every=0).image()
    assert caplog.messages == ["Listed 1 images, 0 archives"]
