"""What the process of a page does: rebuilds a run's model, and computes what is asked of it."""

import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from gradbook.errors import ConfigError, GradbookError, GradbookWarning, text_of, told
from gradbook.lab.look.subject import Subject
from gradbook.lab.worker import Channel
from gradbook.storage import finite


def main(channel: Channel) -> None:
    """Answers one question after the other."""
    _be_the_first_to_go()
    subject: Subject | None = None
    for message in channel.messages():
        wanted = (message["folder"], message["signature"], message["options"].get("checkpoint"))
        if subject is None or subject.wanted != wanted:
            subject = None  # and its memory is free
            subject = Subject(wanted, Path(message["folder"]), message["classes"])
        channel.send(answer(subject, message["what"], message["options"]))


def answer(subject: Subject, what: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a look, with what was warned of; or why there is none."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if what != "weights":  # which may need no model
                subject.check()
            result = _look(what)(subject, options)
        texts = [text_of(w.message) for w in caught if issubclass(w.category, GradbookWarning)]
        subject.warnings = list(dict.fromkeys([*subject.warnings, *texts]))
        return {"result": finite({**result, "warnings": subject.warnings})}
    except GradbookError as error:
        return {"error": text_of(error), "is_config": isinstance(error, ConfigError)}
    except MemoryError:
        return {"error": "There is not enough memory for this."}
    except Exception as error:  # a learner's class may raise anything
        return {"error": f"{told(error)[:2000]}"}


#: What computes each look: loaded when it is first asked for, and PyTorch with most of them.
_LOOKS = {
    "mistakes": ("examples", "inspected"),
    "cell": ("examples", "of_cell"),
    "weights": ("weights", "film"),
    "graph": ("graphs", "graph_of"),
    "sharpness": ("curvature", "sharpness_of"),
}


def _look(what: str) -> Callable[[Subject, Mapping[str, Any]], dict[str, Any]]:
    module, name = _LOOKS[what]
    found: Callable[[Subject, Mapping[str, Any]], dict[str, Any]]
    found = getattr(import_module(f"gradbook.lab.look.{module}"), name)
    return found


def _be_the_first_to_go() -> None:
    """When memory runs out, Linux ends this process rather than one that trains."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(OSError, AttributeError):
        os.nice(5)
