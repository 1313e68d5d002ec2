"""How long a test waits for what it needs."""

import time

#: Seconds after which a wait is given up. Only against hanging: on a machine that is busy with
#: other things, what takes a second alone may take minutes.
LONGEST = 300


def await_true(condition, pause=0.02):
    """Waits until a condition holds."""
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(pause)
