"""Raw connections to a lab."""

import http.client
import socket

from tests.patience import LONGEST


def connected(lab):
    """A connection to its port."""
    client = socket.create_connection(("127.0.0.1", lab.port), timeout=LONGEST)
    client.settimeout(LONGEST)
    return client


def all_of(client):
    """All that comes until the connection is closed."""
    found = b""
    try:
        while data := client.recv(1 << 16):
            found += data
    except ConnectionResetError:
        pass
    return found


def cookie_of(lab):
    """The cookie that the page of the lab's user has."""
    connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=LONGEST)
    connection.request("GET", f"/?token={lab.token}")
    answer = connection.getresponse()
    connection.close()
    return answer.getheader("set-cookie").partition(";")[0]
