import subprocess
import sys

import pytest

from gradbook.display.shell import afterwards, in_kernel


def test_after_the_cell_it_is_called_once(shell):
    calls = []
    afterwards(lambda: calls.append(1))
    shell.end_cell()
    shell.end_cell()
    assert calls == [1]
    assert not shell.events.callbacks


def test_a_kernel_is_known(shell):
    assert in_kernel()


@pytest.mark.slow
def test_at_exit_all_are_called_in_order():
    code = (
        "from gradbook.display.shell import afterwards\n"
        "afterwards(lambda: print(1)); afterwards(lambda: 1 / 0); afterwards(lambda: print(3))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "3"]
    assert "ZeroDivisionError" in run.stderr
