"""Whose the other end of a connection is, as the system tells."""

import os
import socket
import sys

import pytest

from gradbook.lab import peers
from gradbook.lab.peers import is_of_another_user

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells")

OURS = 54321


@pytest.fixture
def connection():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted:
            yield client


def ends(client):
    return client.getsockname(), client.getpeername()


def test_the_owner_of_a_connection_is_told(connection):
    assert peers._owner(*ends(connection)) == os.getuid()


def test_a_connection_of_the_users_own_is_no_others(connection, monkeypatch):
    monkeypatch.setattr(peers, "_owner", lambda client, server: OURS)
    monkeypatch.setattr(os, "getuid", lambda: OURS)
    assert not is_of_another_user(*ends(connection))


def test_a_connection_of_another_user_is_known(connection, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: OURS)  # the true one is another
    assert is_of_another_user(*ends(connection))


def test_a_connection_whose_other_end_has_gone_is_not_the_users(connection, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: OURS)
    client, server = ends(connection)
    assert peers._owner((client[0], 1), server) is None
    assert is_of_another_user((client[0], 1), server)


def test_a_lab_of_root_does_not_ask(connection, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(peers, "_owner", lambda client, server: OURS)
    assert not is_of_another_user(*ends(connection))


def test_where_the_system_does_not_tell_the_token_alone_decides(connection, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: OURS)
    monkeypatch.setattr(peers, "_SOCK_DIAG", 31)  # a family that is not there
    assert not is_of_another_user(*ends(connection))
    assert not is_of_another_user(None, None)
