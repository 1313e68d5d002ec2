"""Many independent calls at once: in processes of this machine, or on a cluster that is there.

`run_all` sends calls to workers and gives each outcome as it comes. `loop.py` is that loop,
`call.py` is what travels, `engine.py` says what an engine is and `cluster.py` what those have in
common that are there already, and `processes.py`, `ray.py` and `dask.py` are engines.
"""

from gradbook.sweeps.engines.call import Done, Failed
from gradbook.sweeps.engines.engine import GRACE_SECONDS
from gradbook.sweeps.engines.loop import ENGINES, check_engine, run_all

__all__ = ["ENGINES", "GRACE_SECONDS", "Done", "Failed", "check_engine", "run_all"]
