"""What a report says of a sweep: its table, its figure, what follows, and its members."""

import shlex
from contextlib import suppress

from gradbook.display.words import counted, listed, settings_text
from gradbook.errors import ConfigError
from gradbook.reports import texts
from gradbook.reports.blocks import Block, Figure, Pairs, Rows, Section, Text
from gradbook.reports.images import image_of
from gradbook.sweeps.results import Sweep
from gradbook.table import Table


def section_of_sweep(sweep: Sweep, title: str) -> Section:
    """A sweep, as `gradbook show` tells it."""
    swept = listed(sweep.swept) or "the seed"
    kind = "search" if sweep.is_search else "sweep"
    blocks: list[Block] = [
        Text(f"A {kind} of {counted(len(sweep.members), 'training')} over {swept}.")
    ]
    findings = sweep.findings()
    blocks += [Text(text, "verdict") for text in findings]
    blocks.append(Rows("What each setting reached", sweep.table()))
    with suppress(ConfigError):  # no run has finished an epoch
        image = image_of(sweep.figure())
        caption = "The curves of the settings, and their values at the end against what was swept."
        blocks.append(Figure(image, caption, f"{caption} {' '.join(findings)}"))
    section = Section(title, blocks)
    members = Rows("Each training", _members(sweep), is_folded=True)
    section.parts.append(Section("Members", [members]))
    section.parts.append(Section("Configuration", _configuration(sweep)))
    return section


def _members(sweep: Sweep) -> Table:
    labels = dict.fromkeys(label for run in sweep.runs for label in run.final)
    rows = [
        [settings_text(member.values), member.told]
        + [texts.value(member.final(label)) if member.run else "-" for label in labels]
        for member in sweep.members
    ]
    return Table(["setting", "verdict", *(f"last {label}" for label in labels)], rows)


def _configuration(sweep: Sweep) -> list[Block]:
    facts = sweep.facts
    tried = {name: facts["swept"][name] for name in facts["swept"]}
    rows = [(name, texts.setting(given)) for name, given in tried.items()]
    rows += [(what, str(facts[what])) for what in ("model", "data") if facts.get(what)]
    command = facts.get("command")
    told = shlex.join(["gradbook", *command]) if command else "it was made by a script or notebook"
    return [Pairs([*rows, ("to repeat it", told)])]
