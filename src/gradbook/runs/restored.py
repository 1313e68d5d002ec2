"""From a run's folder back to its model, its data and its trainer.

No code runs because a folder names it: a class that is not gradbook's own is the caller's to give,
and so is every place. PyTorch is loaded when the first run is rebuilt.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradbook import registry
from gradbook.constructors import constructor_of, make
from gradbook.errors import CheckpointError, ConfigError, CorruptFileError, GradbookWarning, warn
from gradbook.runs.format import RUN_FILE
from gradbook.runs.stored import StoredRun, load
from gradbook.untrusted import is_a_place

if TYPE_CHECKING:
    from gradbook.trainer import Trainer

#: The class that run.json names for data that were handed to `fit` as they were.
GIVEN = "gradbook.data.GivenData"
GIVEN_TEXT = "was trained on tensors, arrays or loaders, which a run does not keep"

#: Takes "model", "data" or "trainer", a setting's name, the value that a file has and the default,
#: and gives the value to use.
Trusted = Callable[[str, str, Any, Any], Any]


@dataclass(frozen=True)
class Recipe:
    """What a run's model and data are made from.

    Their classes (None for data that are not needed), the constructor arguments by name under
    "model", "data" and "trainer", and the random seed with which both are made.
    """

    model: type
    data: type | None
    arguments: Mapping[str, Mapping[str, Any]]
    seed: int | None

    def make(self, with_data: bool = True) -> tuple[Any, Any]:
        """The model, and the data or None, made with the seed: first the data, then the model."""
        from gradbook.seeds import seed_everything

        seed_everything(self.seed)  # data that are drawn are drawn again
        data = None
        if with_data and self.data is not None:
            data = make(self.data, self.arguments["data"])
        return make(self.model, self.arguments["model"]), data


@dataclass(repr=False)
class Restored:
    """A run with its model and data.

    Attributes:
        run: The run.
        model: The model, in evaluation mode, with the parameters of the checkpoint.
        data: The data, or None if they were not asked for.
        checkpoint: The checkpoint's file.
        recipe: What they were made from.
    """

    run: StoredRun
    model: Any
    data: Any
    checkpoint: Path
    recipe: Recipe

    def __repr__(self) -> str:
        return f"{self.run!r}; its model with the checkpoint {self.checkpoint.name}"

    @cached_property
    def trainer(self) -> "Trainer":
        """A new trainer with the run's settings. It keeps no run until its `run` is set."""
        from gradbook.trainer import Trainer

        return Trainer(**self.recipe.arguments["trainer"])


def restore(
    run: StoredRun | Path | str,
    model: type | None = None,
    data: type | None = None,
    *,
    runs: Path | str = "runs",
    checkpoint: str | None = None,
    settings: Mapping[str, Any] | None = None,
    need_data: bool = True,
) -> Restored:
    """Rebuilds what a run trained, from the settings that run.json keeps.

    Args:
        run: The run, its name, or the path of its folder.
        model: Its class, which need not be given if it is gradbook's own.
        data: Likewise the class of the data. It has to be given for data that were handed to `fit`
            as tensors, arrays or loaders, which no run keeps.
        runs: The folder in which runs are looked for by name.
        checkpoint: Which to take parameters from: "best", "last" or "failed"; None takes the best,
            or the last if there is no best.
        settings: The settings that are files, folders or addresses, by name, such as
            {"root": "/data"}: gradbook reads and writes nowhere because a folder names it.
        need_data: Whether the data are needed, too.

    Raises:
        ConfigError: If there is no such run, or it needs a class or a place that is not given.
        CorruptFileError: If a file of the run is damaged.
        CheckpointError: If the parameters do not fit the model.
    """
    stored = run if isinstance(run, StoredRun) else load(run, runs)
    model = model or _own_class(stored, "model", registry.MODELS)
    if data is None and need_data:
        data = _own_class(stored, "data", registry.DATA)
    places = dict(settings or {})

    def trusted(group: str, name: str, value: Any, default: Any) -> Any:
        if not is_a_place(name, value) or value == default:
            return value
        if name in places:
            return places[name]
        raise ConfigError(
            f"{stored.folder / RUN_FILE} names a place: {name} is {value!r}. gradbook reads and "
            f"writes nowhere because a folder names it. If you trust it, give "
            f"settings={{{name!r}: {value!r}}}."
        )

    arguments = arguments_of(stored, model, data, trusted)
    recipe = Recipe(model, data, arguments, stored.facts["seed"])
    return rebuild(stored, recipe, checkpoint, need_data)


def _own_class(run: StoredRun, kind: str, known: Mapping[str, registry.Entry]) -> type:
    """The class of gradbook that a run has trained, or trained with."""
    written = run.facts[kind]["class"]
    name = registry.known_name(written, known)
    if written == GIVEN:
        raise ConfigError(
            f"{run.name} {GIVEN_TEXT}. Give a class that makes these data, as in "
            f"restore({run.name!r}, data=MyData), or need_data=False for the model alone."
        )
    if not name:
        raise ConfigError(
            f"{run.name} needs you to name code: its {kind} is {written}, a class of your own. "
            f"gradbook runs no code because a folder names it. Give the class, as in "
            f"restore({run.name!r}, {kind}={written.rpartition('.')[2]})."
        )
    return known[name].load()


def rebuild(
    run: StoredRun, recipe: Recipe, checkpoint: str | None = None, need_data: bool = True
) -> Restored:
    """Makes a run's model and data, and loads a checkpoint's parameters, as `restore` does."""
    from gradbook import checkpoint as files
    from gradbook.resume.setup import warn_of_changed_code
    from gradbook.resume.snapshot import load_parameters
    from gradbook.runs.facts import check_same_run

    path = checkpoint_of(run, checkpoint)
    state = files.load(path)
    model, data = recipe.make(need_data)
    check_same_run(state, run.facts, path)
    if state.get("loose"):
        raise CheckpointError(
            f"{path} has parameters that the model keeps where only its optimizer finds them, so "
            f"that the model cannot be rebuilt from here. Set them as attributes of the model."
        )
    if not isinstance(state.get("model"), dict):
        raise CorruptFileError(f"{path} has no parameters under the key 'model'.")
    load_parameters(model, state["model"])
    model.eval()
    warn_of_changed_code(model, state.get("setup", {}).get("code"), "the run was trained")
    if data is not None:
        _check_same_data(data, state)
    return Restored(run, model, data, path, recipe)


def arguments_of(
    run: StoredRun, model: type, data: type | None, trusted: Trusted
) -> dict[str, dict[str, Any]]:
    """What run.json keeps of the arguments of a run's model, data and trainer.

    `trusted` decides which value is used for each setting. A ConfigError says if it does not keep
    what one of them cannot be made without.
    """
    from gradbook.trainer import Trainer

    classes = {"model": model, "data": data, "trainer": Trainer}
    return {
        group: _arguments_of(Class, group, run, trusted)
        for group, Class in classes.items()
        if Class is not None
    }


def _arguments_of(Class: type, group: str, run: StoredRun, trusted: Trusted) -> dict[str, Any]:
    file, hyperparameters = run.folder / RUN_FILE, run.facts[group]["hyperparameters"]
    constructor = constructor_of(Class)
    from gradbook.settings import PLACES

    skip = PLACES if group == "trainer" else ()
    defaults = {name: each.default for name, each in constructor.parameters.items()}
    found = {
        name: trusted(group, name, value, defaults.get(name, Parameter.empty))
        for name, value in constructor.among(hyperparameters).items()
        if name not in skip
    }
    kept = {**found, **dict.fromkeys(skip)}
    missing = constructor.missing(kept)
    if missing:
        raise ConfigError(
            f"{Class.__name__} cannot be made again: {file} does not keep its "
            f"{', '.join(missing)}. Call save_hyperparameters() in {Class.__name__}.__init__, "
            f"and train again."
        )
    unkept = [name for name in constructor.parameters if name not in kept]
    if unkept and not (Class.__module__ or "").startswith("gradbook."):
        warn(
            f"{file} does not keep {', '.join(unkept)} of {Class.__name__}: the default "
            f"is taken, whatever it was trained with. Call save_hyperparameters() in "
            f"{Class.__name__}.__init__ to keep it.",
            GradbookWarning,
        )
    return found


def checkpoint_of(run: StoredRun, which: Any = None) -> Path:
    """The file to take a run's parameters from, or what `StoredRun.checkpoint_path` raises.

    If nothing is said, it is that of the best epoch, or of the last.
    """
    if which is not None:
        return run.checkpoint_path(which)
    try:
        return run.checkpoint_path("best")
    except ConfigError:
        return run.checkpoint_path("last")


def _check_same_data(data: Any, state: Mapping[str, Any]) -> None:
    """Says so if the data are not those that the run was trained with."""
    from gradbook.resume.setup import content_of

    before = state.get("setup", {}).get("data", {})
    for split, called in (("train", "training"), ("val", "validation")):
        if before.get(split) != content_of(getattr(data, f"{split}_dataloader")()):
            warn(
                f"The {called} data here are not those that the run was trained with, so that its "
                f"figures cannot be found again.",
                GradbookWarning,
            )
            return
