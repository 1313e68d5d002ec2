import sys

import pytest
import torch

from gradbook import faults
from gradbook.errors import RankLostError


def test_what_pytorch_says_of_a_lost_rank_is_said_without_its_own_places():
    error = RuntimeError("[/a/pair.cc:5] Connection closed by peer [::1]:1. This is typically")
    told = r"reached \(RuntimeError: Connection closed by peer \[::1\]:1\)\. What"
    with pytest.raises(RankLostError, match=told), faults.collectively():
        raise error


def test_a_rank_without_memory_for_what_it_sends_does_not_take_others_for_lost():
    with pytest.raises(torch.OutOfMemoryError), faults.collectively():
        raise torch.OutOfMemoryError("no memory")


def test_an_error_is_told_with_its_rank_also_where_ranks_have_met_in_vain_before(
    monkeypatch, capsys
):
    shown = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: shown.append(error[1]))
    monkeypatch.setattr(faults, "tells", lambda error: error not in shown)
    monkeypatch.setenv("RANK", "1")
    faults.tell_errors_once.cache_clear()
    for _ in range(2):
        faults.tell_errors_once()
    odd = ValueError("odd")
    sys.excepthook(ValueError, odd, None)
    assert shown == [odd]
    assert capsys.readouterr().err == "Rank 1 has failed:\n"
    faults.tell_errors_once.cache_clear()


def test_a_name_that_leads_to_the_machine_itself_is_told_with_what_to_do():
    text = "Gloo connectFullMesh failed with SO_ERROR: Connection refused, remote=[127.0.1.1]:301"
    message = str(faults.lost(RuntimeError(text)))
    assert text in message
    assert "/etc/hosts" in message
    assert "GLOO_SOCKET_IFNAME" in message
    assert "/etc/hosts" not in str(faults.lost(RuntimeError("Read error [127.0.0.1]:459")))
