"""Sweeps that are written down as training them would have, without training."""

import math
from pathlib import Path

from tests.runs.folders import facts_of

from gradbook.history import History
from gradbook.record import Metric
from gradbook.runs.format import MetricsLog, results_of, write_run
from gradbook.sweeps.format import write_sweep
from gradbook.sweeps.results import Sweep


def write_member(folder, curves, start=None, status="finished", seconds=2.0):
    """A run whose epoch means are `curves`, by label; `start` is its first recorded point."""
    folder.mkdir(parents=True)
    log = MetricsLog(folder)
    history = History()
    if start is not None:
        log.append(Metric("train_loss", 0.5, start))
    num_epochs = max(map(len, curves.values()), default=0)
    for epoch in range(1, num_epochs + 1):
        row = {"epoch": epoch}
        for label, values in curves.items():
            row[label] = values[epoch - 1]
            log.append(Metric(label, epoch, values[epoch - 1], kind="epoch"))
        history.rows.append(row)
    log.close()
    facts = facts_of(
        folder.name,
        status=status,
        seconds=seconds,
        metrics={"lines": log.lines, "crc": log.crc},
    )
    write_run(folder, facts | results_of(history))


def make(
    values_and_curves,
    folder="runs/net-sweep-1",
    start=2.0,
    level=None,
    errors=(),
    search=None,
    pruned=(),
):
    """A sweep with one member for each pair of values and curves; no curves leave no run."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    members, swept, settings = [], {}, []
    for k, (values, curves) in enumerate(values_and_curves):
        setting = {name: value for name, value in values.items() if name != "seed"}
        settings += [setting] if setting not in settings else []
        values = {"seed": 0, **values}
        for name, value in values.items():
            known = swept.setdefault(name, [])
            known += [value] if value not in known else []
        members.append(
            {
                "folder": f"member-{k + 1}",
                "values": values,
                "setting": settings.index(setting),
                "error": dict(errors).get(k),
                "alone": None,
                "seconds": None,
                "pruned": k in pruned,
            }
        )
        if curves:
            diverged = any(not math.isfinite(v) for c in curves.values() for v in c)
            status = "diverged" if diverged else "finished"
            write_member(folder / f"member-{k + 1}", curves, start, status)
    write_sweep(
        folder,
        {
            "model": "my.Net",
            "data": "my.Data",
            "swept": swept,
            "fixed": {"max_epochs": 3},
            "num_samples": None,
            "search": search,
            "level": level,
            "seconds": 3.0,
            "members": members,
        },
    )
    return Sweep(folder)


def losses(*values):
    return {"val_loss": list(values)}


RATES = {
    0.001: (1.99, 1.98, 1.97),
    0.01: (1.5, 1.0, 0.6),
    0.1: (0.8, 0.5, 0.3),
    1.0: (0.6, 0.5, 0.5),
    10.0: (5.0, math.nan, math.nan),
}


def make_rates():
    """A sweep over five rates, the last of which diverges."""
    return make([({"lr": lr}, losses(*curve)) for lr, curve in RATES.items()])


def make_seeded():
    """A sweep over two rates with three seeds each."""
    return make(
        [
            ({"lr": lr, "seed": seed}, losses(1.5, final + 0.01 * seed))
            for lr, final in ((0.1, 0.5), (0.2, 0.4))
            for seed in (0, 1, 2)
        ],
        "runs/seeded-sweep-1",
    )
