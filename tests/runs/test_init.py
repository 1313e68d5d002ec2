import subprocess
import sys
from pathlib import Path

import pytest

import gradbook.runs


@pytest.mark.slow
def test_reading_runs_loads_no_torch():
    code = (
        "import sys\n"
        "from tests.runs.folders import make_run\n"
        "from gradbook.runs import find_runs, load\n"
        "make_run('mlp-1'); make_run('mlp-2', status='running')\n"
        "find_runs(); load('mlp-1').history; load('mlp-2').points\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}"], check=False
    )
    assert done.returncode == 0


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Rnu'"):
        _ = gradbook.runs.Rnu


def test_the_recorder_is_loaded_when_it_is_first_used():
    from gradbook.runs import recorder

    assert gradbook.runs.Run is recorder.Run
