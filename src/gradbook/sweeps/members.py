"""The members of a sweep: what each trains, and how it is trained, alone or in a stack."""

import time
import warnings
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gradbook.constructors import make
from gradbook.errors import DivergenceWarning, GradbookError, GradbookWarning, text_of, told, warn
from gradbook.hparams import plain
from gradbook.resume.loader import Position
from gradbook.runs.format import CHECKPOINT_FILES, remove_files
from gradbook.runs.recorder import Run
from gradbook.runs.stored import StoredRun
from gradbook.seeds import (
    random_state,
    restore_random_state,
    same_random_state,
    seed_everything,
    untouched_generators,
)
from gradbook.sweeps.candidate import Candidate
from gradbook.sweeps.copies import Original
from gradbook.sweeps.effects import foresee
from gradbook.sweeps.stacked import fit_stacked, why_alone
from gradbook.sweeps.values import are_equal
from gradbook.trainer import Trainer


@dataclass(frozen=True)
class Member:
    """One training of a sweep, as it can be sent to another process.

    Attributes:
        index: Its place in the sweep.
        values: What it was given, by name, its seed included.
        Model: The class of its model.
        data: A data set, of which each member gets a copy; or the class of one, which is then
            made anew for each.
        model_arguments, data_arguments, trainer_arguments: What each is made with.
        seed: What the random generators begin with.
        folder: Its run's folder.
        model_name, data_name: What the command calls them; None takes their classes.
    """

    index: int
    values: dict[str, Any]
    Model: type
    data: Any
    model_arguments: dict[str, Any]
    data_arguments: dict[str, Any]
    trainer_arguments: dict[str, Any]
    seed: int
    folder: Path
    model_name: str | None = None
    data_name: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether its run has come to its end, in a stable state or not."""
        try:
            return StoredRun(self.folder).status in ("finished", "diverged")
        except GradbookError:
            return False

    @property
    def resume(self) -> Path | None:
        """Its folder, if a stopped run lies there that can be gone on with."""
        is_begun = (self.folder / CHECKPOINT_FILES["last"]).is_file()
        return self.folder if is_begun else None

    def prepare(self, made: "MadeData", kept: bool = True) -> Candidate:
        """Makes its model, its data, and a trainer that keeps its run if it is to be `kept`."""
        resume = self.resume if kept else None
        if kept and resume is None and self.folder.exists():
            remove_files(self.folder)  # it was killed before it had anything to go on with
        seed_everything(self.seed)
        data = made.of(self)
        model = make(self.Model, self.model_arguments)
        run = Run(
            folder=self.folder,
            model_name=self.model_name,
            data_name=self.data_name,
            pictures=False,  # drawing takes longer than training many a member
        )
        trainer = Trainer(**self.trainer_arguments, display="off", run=run if kept else None)
        return Candidate(trainer, model, data, resume)


def member_facts(member: Member, setting: int, **others: Any) -> dict[str, Any]:
    """What sweep.json says of a member; `setting` is the place of its values but for the seed."""
    told = {"folder": member.folder.name, "values": plain(member.values), "setting": setting}
    return {**told, "error": None, "alone": None, "seconds": None, **others}


@dataclass
class MadeData:
    """The data of members: for each a copy of its own, as they were given or have been made."""

    #: For whom data were made, whether that drew random numbers, the data as they were then, and
    #: the state of the random generators after it.
    known: list[tuple[Member, bool, Original, dict[str, Any]]] = field(default_factory=list)
    #: Data sets that were given, as they were.
    given: list[tuple[Any, "Original | _Uncopied"]] = field(default_factory=list)

    def of(self, member: Member) -> Any:
        """The data of a member, with the random generators as making them leaves them."""
        if not isinstance(member.data, type):
            return self._as_given(member.data)
        for like, draws, original, after in self.known:
            a, b = like.data_arguments, member.data_arguments
            is_same = a.keys() == b.keys() and all(are_equal(a[name], b[name]) for name in a)
            if not is_same or (draws and like.seed != member.seed):
                continue
            if draws:
                restore_random_state(after)
            return original.copy()
        before = random_state()
        data = make(member.data, member.data_arguments)
        after = random_state()
        draws = not same_random_state(before, after)  # otherwise the same for every seed
        with suppress(Exception):  # what cannot be copied is made anew for each member
            self.known.append((member, draws, Original(data), after))
        return data

    def _as_given(self, data: Any) -> Any:
        for known, original in self.given:
            if known is data:
                return original.copy()
        kept: Original | _Uncopied
        try:
            kept = Original(data)
            copy = kept.copy()
        except Exception as error:  # what may go wrong in copying a learner's data is not limited
            warn(
                f"{type(data).__name__} cannot be copied for each member of the sweep "
                f"({type(error).__name__}: {error}): the members share it. Only its random "
                f"generators and the numbers it counts with are set back before each. Give the "
                f"class instead of an object.",
                GradbookWarning,
            )
            kept = _Uncopied(data)
            copy = kept.copy()
        self.given.append((data, kept))
        return copy

    @property
    def is_shared(self) -> bool:
        """Whether members share data that cannot be copied."""
        return any(isinstance(original, _Uncopied) for _, original in self.given)

    def close(self) -> None:
        """Leaves what was given as it was."""
        for _, original in self.given:
            if isinstance(original, _Uncopied):
                original.copy()


class _Uncopied:
    """Data that all members share, because they cannot be copied."""

    def __init__(self, data: Any) -> None:
        self._data, self._position = data, Position([data])
        self._sources = self._position.sources()

    def copy(self) -> Any:
        """The data themselves, with their generators and numbers as they were."""
        with untouched_generators():
            self._position.restore_sources(self._sources)
        return self._data


def train_members(members: Sequence[Member]) -> list[dict[str, Any]]:
    """Trains one member, or several in a stack, each in its folder.

    Returns:
        For each its "index", the "error" that ended it, why it was trained "alone", or None, and
        its share of the "seconds" that a stack took.

    Raises:
        KeyboardInterrupt: After each has kept what it has reached.
    """
    with warnings.catch_warnings(), closing(MadeData()) as made:
        # Which members diverge is what a sweep finds out, and its table tells.
        warnings.simplefilter("ignore", DivergenceWarning)
        if len(members) == 1:
            return [_train_one(members[0], made)]
        begun = time.perf_counter()
        results = fit_stacked([partial(member.prepare, made) for member in members])
        share = (time.perf_counter() - begun) / len(members)
    found = []
    for member, result in zip(members, results, strict=True):
        if isinstance(result, Candidate):
            found.append(outcome_of(member, _words(result.error), result.alone, share))
        else:  # it could not be made
            found.append(outcome_of(member, _words(result), seconds=share))
    return found


def _train_one(member: Member, made: MadeData) -> dict[str, Any]:
    error = None
    try:
        candidate = member.prepare(made)
        candidate.trainer.fit(candidate.model, candidate.data, candidate.resume)
    except (Exception, SystemExit) as raised:  # a learner's code may raise anything
        error = raised
    return outcome_of(member, _words(error))


def outcome_of(
    member: Member, error: str | None, alone: str | None = None, seconds: float | None = None
) -> dict[str, Any]:
    """What became of a member, as JSON values."""
    return {"index": member.index, "error": error, "alone": alone, "seconds": seconds}


def reason_alone(members: Sequence[Member], made: MadeData) -> str | None:
    """Why such members cannot be stacked, or None if they can, as far as the first one shows.

    Its model is made and looked at, and nothing is trained or kept.
    """
    # Making and looking at a model runs its code, whose counts in a class or a module are not to
    # have been moved when the members are trained.
    noted = foresee([(members[0].Model.__name__, members[0].Model)])
    if noted.doubts:
        return f"making it may change {noted.doubts[0]}"
    try:
        with warnings.catch_warnings(action="ignore"):
            for member in members:
                try:
                    candidate = member.prepare(made, kept=False)
                except (Exception, SystemExit):  # it will be told when it is trained
                    continue
                if made.is_shared:
                    return "its data cannot be copied for each member"
                return why_alone(candidate, partial(_make, members[-1], made))
        return None
    finally:
        noted.put_back()


def _make(member: Member, made: MadeData) -> None:
    with suppress(Exception, SystemExit):  # it will be told when it is trained
        member.prepare(made, kept=False)


def _words(error: BaseException | None) -> str | None:
    if error is None:
        return None
    if isinstance(error, GradbookError):
        return text_of(error).strip()
    if isinstance(error, SystemExit):
        return f"its code ended the program with sys.exit({text_of(error.code, repr)})"
    return told(error).strip().removesuffix(":")
