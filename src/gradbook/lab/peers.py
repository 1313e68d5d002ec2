"""Which user of this machine has the other end of a connection."""

import os
import socket
import struct
import sys

_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _REQUEST = 4, 20, 1
_ANY = 0xFFFFFFFF


def is_of_another_user(client: tuple[str, int] | None, server: tuple[str, int] | None) -> bool:
    """Whether another user of this machine has opened a connection.

    The cookie that a browser has for this machine is sent to every port of it, so that a server of
    another user, to whose page somebody is led, could learn it. On Linux the system tells whose a
    connection is, and another user's is of no use. Elsewhere this is not known, and False. Nor is
    it looked at for root, as which programs run in containers that share the network with the
    user's browser.

    Args:
        client: The address and the port that the connection comes from.
        server: Those that it goes to.
    """
    if sys.platform != "linux" or client is None or server is None or os.getuid() == 0:
        return False
    try:
        return _owner(client, server) != os.getuid()
    except OSError:  # a system without this way to ask
        return False


def _owner(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The user number of a connection's other end; None where there is none any more.

    The question and the answer are described in sock_diag(7).
    """
    # The connection as the client has it: ports, addresses of 16 bytes, any interface, any cookie.
    connection = struct.pack(
        "!HH16s16sIII",
        *(client[1], server[1], socket.inet_aton(client[0]), socket.inet_aton(server[0])),
        *(0, _ANY, _ANY),
    )
    asked = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, _ANY) + connection
    head = struct.pack("=IHHII", 16 + len(asked), _SOCK_DIAG_BY_FAMILY, _REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(1)
        kernel.send(head + asked)
        answer = kernel.recv(1 << 12)
    (kind,) = struct.unpack_from("=H", answer, 4)
    if kind != _SOCK_DIAG_BY_FAMILY:
        (number,) = struct.unpack_from("=i", answer, 16)
        if -number == 2:  # ENOENT: the connection is closed
            return None
        raise OSError(-number, os.strerror(-number))
    # After the head: 4 bytes, the connection's 48, and three numbers.
    (owner,) = struct.unpack_from("=I", answer, 16 + 4 + 48 + 12)
    return int(owner)
