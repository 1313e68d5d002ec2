"""A sweep while it is trained: what a terminal, a notebook and a log show of it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.display.test_terminal import Screen, console
from tests.runs.folders import facts_of

from gradbook import LinearRegressionScratch, SyntheticRegressionData
from gradbook.record import Metric
from gradbook.runs.format import MetricsLog, write_run
from gradbook.sweeps.members import Member
from gradbook.sweeps.progress import Progress

LABEL = "val_loss"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def member(index, lr, seed=0):
    folder = Path("sweep", f"member-{index + 1}").absolute()
    made = LinearRegressionScratch, SyntheticRegressionData, {"lr": lr}, {}, {"max_epochs": 3}
    return Member(index, {"lr": lr, "seed": seed}, *made, seed, folder)


def record(one, *losses, label=LABEL):
    """Further epochs of a member."""
    one.folder.mkdir(parents=True, exist_ok=True)
    log = MetricsLog(one.folder)
    for epoch, loss in enumerate(losses, start=log.lines + 1):
        log.append(Metric(label, epoch, loss, kind="epoch"))
    log.close()


def ended(*members, error=None, **others):
    return [{"index": one.index, "error": error, **others} for one in members]


@pytest.fixture
def members():
    return [member(0, 0.1), member(1, 0.2)]


@pytest.fixture
def seeded():
    return [member(2 * k + seed, lr, seed) for k, lr in enumerate((0.1, 0.2)) for seed in (0, 1)]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def show(clock):
    """Makes the progress of members, on a terminal of a size whose thread never wakes up."""

    def make(members, place="terminal", settings=None, width=80, height=24, **options):
        shown = Progress(
            members,
            range(len(members)) if settings is None else settings,
            Path("sweep"),
            place,
            ["lr"],
            console=console(width=width, height=height),
            clock=clock,
            **options,
        )
        shown._block._min_seconds = 3600
        return shown

    return make


def drawn(progress):
    """The terminal's lines, drawn now; or as they were left."""
    if progress.status is None:
        progress._block.refresh()
    screen = Screen()
    screen.feed(progress._block._console.file.getvalue())
    return screen.text().rstrip("\n").splitlines()


# A log


def test_a_display_that_knows_no_sweeps_has_their_lines(members, show, capsys, monkeypatch):
    monkeypatch.setattr("gradbook.display.choose.NAMES", ("auto", "terminal", "lines", "page"))
    with show(members, "page") as progress:
        progress.end(ended(members[1], error="ValueError: no"))
    assert capsys.readouterr().out.splitlines()[1].startswith("  1/2  lr 0.2: failed")


def test_where_lines_are_shown_each_member_has_one_when_it_has_ended(members, show, capsys, clock):
    with show(members, "lines") as progress:
        clock.now = 10
        record(members[0], 0.5)
        progress.end(ended(members[0]))
        progress.end(ended(members[1], error="ValueError: no"))
    assert capsys.readouterr().out.splitlines() == [
        "2 runs in sweep",
        "  1/2  lr 0.1: val_loss 0.5, the best so far (0:10, about 0:10 left)",
        "  2/2  lr 0.2: failed: ValueError: no (0:10)",
    ]


def test_what_is_trained_as_one_is_said_before_and_told_at_once(seeded, show, capsys, clock):
    with show(seeded, "lines", settings=[0, 0, 1, 1]) as progress:
        progress.train_together([seeded[:3], seeded[3:]])
        for one, loss in zip(seeded, (0.5, 0.3, 0.2, 0.1), strict=True):
            record(one, loss)
        clock.now = 60
        progress.end(ended(*seeded[:3]))
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  3 of them are trained as one, and end together",
        "  1/4  lr 0.1, seed 0: val_loss 0.5, the best so far",
        "  2/4  lr 0.1, seed 1: val_loss 0.3, the best so far",
        "  3/4  lr 0.2, seed 0: val_loss 0.2 (1:00, about 0:20 left)",
    ]


def test_off_shows_nothing(members, show, capsys):
    with show(members, "off") as progress:
        progress.end(ended(members[0]))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("label", "told"), [(LABEL, "diverged"), ("val_f1", "nan")])
def test_a_loss_that_is_not_finite_has_diverged(members, show, capsys, label, told):
    with show(members, "lines") as progress:
        record(members[0], 0.5, float("nan"), label=label)
        progress.end(ended(members[0]))
    assert f"{label} {told} (" in capsys.readouterr().out


def test_control_characters_do_not_reach_the_terminal(show, capsys):
    named = member(0, "\x1b[2J")
    with show([named], "lines") as progress:
        record(named, 0.5, label="val_\x1b[31m")
        progress.end(ended(named, error="bad \x1b[2J"))
    assert "\x1b" not in capsys.readouterr().out
    assert "\x1b" not in repr(progress.table(9)[0]) + "".join(progress.texts())


# What is recorded


def test_a_line_that_is_half_written_is_read_when_it_is_whole(members, show):
    progress = show(members, "off")
    record(members[0], 0.5, 0.4)
    path = members[0].folder / "metrics.jsonl"
    whole = path.read_bytes()
    for content, epochs in ((whole[:-5], 1), (whole, 2)):
        path.write_bytes(content)
        progress.read()
        assert progress._watched[0].epochs == epochs


def test_lines_that_are_damaged_are_passed_over(members, show):
    record(members[0], 0.5)
    with open(members[0].folder / "metrics.jsonl", "ab") as file:
        file.write(b'[1]\nnull\n{"kind":"epoch","x":"NaN","label":3}\n{"kind":"epoch","x":[1]}\n')
    assert show(members, "off")._watched[0].epochs == 1


# A terminal


def test_a_terminal_has_the_table_what_is_trained_and_a_bar(members, show, clock):
    with show(members) as progress:
        assert drawn(progress)[-2:] == ["preparing ...", f"0/2 runs {'─' * 40}  0:00"]
        record(members[0], 0.5, 0.6)
        clock.now = 5
        progress.read()
        record(members[0], 0.4)
        progress.end(ended(members[0]))
        record(members[1], 0.3)
        clock.now = 25
        assert drawn(progress)[:4] == [
            " lr  best val_loss  last val_loss  state",
            "0.1            0.4            0.4  not begun",  # there is no run.json
            "0.2            0.3            0.3  epoch 2/3",
            "training lr 0.2, epoch 2/3",
        ]
        # Four of six epochs in the 20 seconds since the first began.
        bar = drawn(progress)[4]
        assert re.fullmatch(r"1/2 runs ━+─+  0:25 < 0:10  best: lr 0\.1 \(val_loss 0\.4\)", bar)


def test_members_of_a_stack_are_one_and_fill_the_table_as_they_go(seeded, show):
    with show(seeded, settings=[0, 0, 1, 1]) as progress:
        progress.train_together([seeded])
        for one, loss in zip(seeded, (0.5, 0.3, 0.2, 0.2), strict=True):
            record(one, 1.0, loss)
        table = drawn(progress)
        assert table[1] == "0.1      0.4 ± 0.1      0.4 ± 0.1  epoch 3/3"
        assert table[3] == "training 4 runs as one, epoch 3/3"
        for one in seeded[:2]:  # these wait for the others to end
            record(one, 0.1)
        assert drawn(progress)[3] == "training 2 runs as one, epoch 3/3"
        assert drawn(progress)[4].startswith("2/4 runs")
        assert drawn(progress)[4].endswith("best: lr 0.1 (val_loss 0.1)")


def test_a_setting_says_how_many_of_its_seeds_are_done(seeded, show):
    with show(seeded, settings=[0, 0, 1, 1]) as progress:
        record(seeded[0], 0.5)
        progress.end(ended(seeded[0]))
        assert drawn(progress)[1].endswith("0.5  1 of 2 done")
        record(seeded[1], 0.5)
        assert drawn(progress)[1].endswith("epoch 2/3, 1 of 2 done")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (30, 8), (20, 6)])
def test_where_there_is_no_room_for_all_the_best_lines_are_shown(show, width, height):
    many = [member(index, index + 1.0) for index in range(40)]
    with show(many, width=width, height=height) as progress:
        for one in many:
            record(one, abs(one.values["lr"] - 20))
        lines = drawn(progress)
        assert len(lines) < height
        assert max(map(len, lines)) < width
        assert lines[1].split()[0] == "20"
        assert re.fullmatch(r"\.\.\. and \d+ more", lines[-3])
        assert len(lines) - 4 + int(lines[-3].split()[2]) == 40


def test_a_diverged_setting_is_the_last_of_the_best_lines(show):
    many = [member(index, float(index)) for index in range(3)]
    progress = show(many, "off")
    for one, loss in zip(many, (float("nan"), 0.5, 0.4), strict=True):
        record(one, loss)
    progress.read()
    table, others = progress.table(2)
    assert ([row[0] for row in table.rows], others) == (["2", "1"], 1)


def test_many_trainings_at_once_are_named_in_part(show):
    many = [member(index, float(index)) for index in range(9)]
    progress = show(many, "off")
    for one in many:
        record(one, 0.5)
    progress.read()
    assert progress.trained().endswith("lr 3, epoch 2/3; 5 more")


def test_the_table_stays_when_ctrl_c_stops_the_sweep(members, show):
    record(members[0], 0.5)
    progress = show(members)
    with pytest.raises(KeyboardInterrupt), progress:
        raise KeyboardInterrupt
    table = drawn(progress)
    assert table[1] == "0.1            0.5            0.5  not begun"
    assert re.fullmatch(r"0/2 runs ━+─+  interrupted  0:00", table[3])


@pytest.mark.parametrize(("error", "lines"), [(None, 1), (KeyboardInterrupt, 1), (OSError, 4)])
def test_the_table_goes_if_it_is_told_afterwards(members, show, error, lines):
    record(members[0], 0.5)
    try:
        with show(members, is_told_after=True) as progress:
            if error is not None:
                raise error
    except (KeyboardInterrupt, OSError):
        pass
    assert len(drawn(progress)) == lines


def test_a_table_that_cannot_be_drawn_does_not_stop_the_sweep(members, show, monkeypatch):
    with show(members) as progress:
        monkeypatch.setattr(progress, "table", None)
        assert drawn(progress)[0].startswith("the table cannot be drawn: TypeError")


def test_a_sweep_that_is_resumed_counts_what_was_done_but_not_its_time(members, show, clock):
    record(members[0], 0.5, 0.4)
    with show(members) as progress:
        assert "preparing ..." in drawn(progress)  # it was begun before, and waits
        clock.now = 10
        progress.read()
        record(members[0], 0.3)
        clock.now = 20
        # One of the four epochs that were left took ten seconds.
        progress.read()
        clock.now = 30
        assert "0:30 < 0:30" in drawn(progress)[-1]


# A search


def searched(show, place="lines"):
    """Three trials of one training each, of which nothing is known before they begin."""
    members = [replace(member(index, None), values={}) for index in range(3)]
    return members, show(members, place, values_in=lambda facts: {"lr": facts["seed"] / 10})


def test_a_search_shows_what_a_trial_tries_as_soon_as_it_has_begun(show):
    members, progress = searched(show, "terminal")
    with progress:
        assert len(drawn(progress)) == 3  # of trials that have not begun there is nothing to say
        record(members[0], 0.5)
        write_run(members[0].folder, facts_of("member-1", seed=2))
        record(members[0], 0.4)
        assert drawn(progress)[:3] == [
            "trial   lr  best val_loss  last val_loss  state",
            "    1  0.2            0.4            0.4  epoch 3/3",
            "training trial 1: lr 0.2, epoch 3/3",
        ]
        progress.end(ended(members[0], values={"lr": 0.2}))
        assert drawn(progress)[-1].endswith("best: trial 1 (val_loss 0.4)")


def test_each_trial_of_a_search_has_a_line(show, capsys):
    members, progress = searched(show)
    with progress:
        for one, losses in zip(members, ((0.5,), (0.7, 0.6)), strict=False):
            record(one, *losses)
        progress.end(ended(members[0], values={"lr": 0.2, "seed": 0}, pruned=False))
        progress.end(ended(members[1], values={"lr": 0.3, "seed": 0}, pruned=True))
        progress.end_setting(1)
        progress.end_setting(2, repeats={"lr": 0.2})
    assert [line.partition(" (")[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "  1/3  trial 1: lr 0.2: val_loss 0.5, the best so far",
        "  2/3  trial 2: lr 0.3: pruned after 2 epochs, val_loss 0.6",
        "  3/3  trial 3: lr 0.2: tried before, nothing to train",
    ]
    states = [row[-1] for row in progress.table(9)[0].rows]
    assert states[2] == "tried before"


def test_seeds_that_are_not_trained_after_a_pruned_one_have_ended(seeded, show):
    progress = show(seeded, "off", settings=[0, 0, 1, 1], values_in=lambda facts: {})
    progress.end(ended(seeded[0], values={"lr": 0.1}, pruned=True))
    progress.end_setting(0)
    assert progress.part() == 0.5


def test_what_ended_before_is_not_told_again(show, capsys):
    members, progress = searched(show)
    progress.end(ended(members[0], values={"lr": 0.2}))
    with progress:
        progress.end(ended(members[0], members[1], values={"lr": 0.2}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 runs in sweep, 1 of them done"
    assert [line[:16] for line in lines[1:]] == ["  2/3  trial 2: "]


# A notebook


def test_a_notebook_has_one_output_that_is_updated(members, show, monkeypatch):
    shown = []
    display = pytest.importorskip("IPython.display")

    class Handle:
        def update(self, bundle, raw):
            shown.append(bundle)

    def display_new(bundle, raw, display_id):
        assert not shown
        shown.append(bundle)
        return Handle()

    monkeypatch.setattr(display, "display", display_new)
    monkeypatch.setattr("gradbook.sweeps.progress.place", str)
    with show(members, "notebook") as progress:
        record(members[0], 0.5)
        progress.end(ended(members[0]))
    first, last = shown[0], shown[-1]
    assert "<th" in first["text/html"]
    assert "waiting" in first["text/plain"]
    assert (
        '<progress value="0.500" max="1"></progress> 1/2 runs, finished, 0:00, '
        in last["text/html"]
    )
    assert re.search(r">0.1</td><td[^>]*>0.5</td>", last["text/html"])
    assert last["text/plain"].splitlines()[0].endswith("best: lr 0.1 (val_loss 0.5)")
