from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from gradbook.errors import ConfigError
from gradbook.meeting import _part_of_this_start, timeout_seconds


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan"])
def test_a_timeout_that_is_no_time_is_refused(given, monkeypatch):
    monkeypatch.setenv("GRADBOOK_TIMEOUT_SECONDS", given)
    with pytest.raises(ConfigError, match="GRADBOOK_TIMEOUT_SECONDS"):
        timeout_seconds()


def test_each_start_of_all_ranks_has_a_part_of_its_own_of_a_store_that_stays():
    store = dist.HashStore()
    for start in ("0", "1", "2"):
        with ThreadPoolExecutor(3) as ranks:  # of which a later one finds what the first ones said
            met = list(ranks.map(lambda rank: _part_of_this_start(store, rank, 3), range(3)))
        parts, counts = zip(*met, strict=True)
        assert counts == (int(start),) * 3
        assert not parts[0].check(["start"])
        parts[0].set("start", start)
        assert [part.get("start").decode() for part in parts] == [start] * 3


def test_restarts_are_counted_by_whoever_has_seen_the_most(monkeypatch):
    counts = iter(("0", "2"))
    monkeypatch.setattr("gradbook.launched.num_restarts", lambda: int(next(counts)))
    store = dist.HashStore()
    with ThreadPoolExecutor(2) as ranks:
        met = list(ranks.map(lambda rank: _part_of_this_start(store, rank, 2), range(2)))
    assert [count for _, count in met] == [2, 2]
