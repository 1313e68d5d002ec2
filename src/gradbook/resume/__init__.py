"""How a training is continued to the last bit.

`loader.py` knows how far a pass over the data has come, `snapshot.py` takes the state of a training
between two steps and puts it back, `setup.py` describes what a training depends on besides its
state, and `start.py` finds what `fit(resume=...)` names. Files of such states: `checkpoint.py`.
"""
