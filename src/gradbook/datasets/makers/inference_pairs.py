"""Pairs of sentences that are made by rules: they stand in for those of SNLI.

A premise tells of somebody what he looks like, what he does, where, and how; the hypothesis tells
one of these again, as it is, otherwise, or where the premise says nothing. So neither sentence
alone gives the relation away.
"""

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gradbook.datasets.stand_ins import write_zip

NUM_TRAIN, NUM_TEST = 9000, 1500

#: Who, what each also is, and what each is not.
_WHO = """
man: person adult | woman girl boy dog
woman: person adult | man boy girl dog
boy: person child | man woman girl cat
girl: person child | man woman boy cat
player: person athlete | dog cat
worker: person | dog cat
musician: person | dog cat
dog: animal | cat man woman
cat: animal | dog boy girl
"""
#: What they do, and what that also is.
_DOES = """
playing a guitar: making music
singing a song: making music
riding a bike: riding something
riding a horse: riding something
eating a sandwich: eating food
eating an apple: eating food
reading a book: reading something
reading a newspaper: reading something
kicking a ball: playing with a ball
throwing a ball: playing with a ball
painting a picture: making art
drawing a picture: making art
washing a car: cleaning something
washing a window: cleaning something
fixing a bike: repairing something
fixing a roof: repairing something
running down a hill: moving fast
chasing a bird: moving fast
sleeping on a bench: resting
lying on a blanket: resting
"""
_PLACES = {
    "outdoors": ("in a park", "on a beach", "in a field", "on a street", "by a lake"),
    "indoors": ("in a kitchen", "in a library", "in an office", "in a museum", "in a gym"),
}
#: Adjectives of which each is the other's opposite.
OPPOSITES = (
    "tall short, young old, happy sad, good bad, rich poor, strong weak, quiet loud, clean dirty, "
    "big small, calm angry"
)
_ADJECTIVES = dict(
    pair
    for one, other in (pair.split() for pair in OPPOSITES.split(", "))
    for pair in ((one, other), (other, one))
)
_COLORS = ("red", "blue", "green", "black", "white", "yellow")
_EXTRAS = ("with friends", "in the rain", "at night", "after work", "before lunch", "for a prize")
_OTHER_EXTRA = {
    "at night": "during the day",
    "with friends": "alone",
    "in the rain": "in the sun",
    "after work": "before work",
    "before lunch": "after lunch",
    "for a prize": "for nothing",
}
_IS, _IS_NOT = {}, {}
for _line in _WHO.strip().splitlines():
    _name, _is, _is_not = re.split("[:|]", _line)
    _IS[_name], _IS_NOT[_name] = _is.split(), _is_not.split()
_ALSO = dict(line.split(": ") for line in _DOES.strip().splitlines())
#: What animals do, too.
_ANIMALS_DO = [does for does in _ALSO if _ALSO[does] in ("eating food", "moving fast", "resting")]

_COLUMNS = (
    "gold_label sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse "
    "sentence1 sentence2 captionID pairID label1 label2 label3 label4 label5"
)
#: A sentence as the words of its subject and those of its predicate.
Sentence = tuple[list[str], list[str]]


def words() -> set[str]:
    """All words that a pair may have, in small letters."""
    rng = random.Random(0)
    pairs = (_pair(rng, relation) for _ in range(1500) for relation in _RULES)
    tokens = {token for pair in pairs for sentence in pair for part in sentence for token in part}
    return {token.lower() for token in tokens if token.isalpha()}


def write_snli(path: Path) -> None:
    """Writes an archive of pairs in the form of the Stanford Natural Language Inference Corpus."""
    rng = random.Random(0)
    sizes = {"train": NUM_TRAIN, "dev": NUM_TEST, "test": NUM_TEST}
    write_zip(
        path,
        (
            (f"snli_1.0/snli_1.0_{split}.txt", "".join(_lines(rng, num)).encode())
            for split, num in sizes.items()
        ),
    )


def _lines(rng: random.Random, num: int) -> Iterator[str]:
    yield "\t".join(_COLUMNS.split()) + "\n"
    for i in range(num):
        relation = list(_RULES)[i % 3]
        sentences = _pair(rng, relation)
        gold = relation if rng.random() < 0.98 else "-"  # the annotators did not agree
        caption = f"{i // 3:07d}.jpg#0"
        texts = [" ".join([*subject, *predicate]) + "." for subject, predicate in sentences]
        binary = [_binary_parse(sentence) for sentence in sentences]
        full = [_parse(sentence) for sentence in sentences]
        columns = [gold, *binary, *full, *texts, caption, f"{caption}r1{relation[0]}", relation]
        yield "\t".join(columns + [""] * 4) + "\n"


class _Scene(NamedTuple):
    """What a premise tells: whatever is empty, it does not tell."""

    who: str
    adjective: str
    color: str
    does: str
    place: str
    extra: str

    def sentence(self, rng: random.Random) -> Sentence:
        subject = [rng.choice(["A", "A", "The"]), *([self.adjective] if self.adjective else [])]
        subject.append(self.who)
        if self.color:
            subject += ["in", "a", self.color, "shirt"]
        return _fitting(subject), ["is", *f"{self.does} {self.place} {self.extra}".split()]


def _scene(rng: random.Random) -> _Scene:
    def perhaps(chance: float, choices: Sequence[str]) -> str:
        return rng.choice(choices) if rng.random() < chance else ""

    who = rng.choice(list(_IS))
    return _Scene(
        who,
        perhaps(0.5, list(_ADJECTIVES)),
        perhaps(0.4, _COLORS),
        rng.choice(_ANIMALS_DO if "animal" in _IS[who] else list(_ALSO)),
        perhaps(0.5, _PLACES["outdoors"] + _PLACES["indoors"]),
        perhaps(0.4, _EXTRAS),
    )


def _pair(rng: random.Random, relation: str) -> tuple[Sentence, Sentence]:
    """A premise and a hypothesis."""
    if rng.random() < 0.1:
        return _short_pair(rng, relation)
    while True:
        scene = _scene(rng)
        found = _RULES[relation](rng, scene)
        if found:
            who, predicate = rng.choice(found)
            subject = _fitting([rng.choice(["A", "The"]), who])
            return scene.sentence(rng), (subject, ["is", *predicate.split()])


def _short_pair(rng: random.Random, relation: str) -> tuple[Sentence, Sentence]:
    """A pair such as "He is good." and "He is bad."."""
    subject, adjective = [rng.choice(["He", "She"])], rng.choice(list(_ADJECTIVES))
    opposite = _ADJECTIVES[adjective]
    others = [other for other in _ADJECTIVES if other not in (adjective, opposite)]
    predicates = {
        "entailment": (["very", adjective], [adjective]),
        "contradiction": ([adjective], [opposite]),
        "neutral": ([adjective], [rng.choice(others)]),
    }
    one, other = predicates[relation]
    if rng.random() < 0.3:
        one = ["very", adjective]
    return (subject, ["is", *one]), (subject, ["is", *other])


#: What follows: who it is of, and what is said of him.
_Found = list[tuple[str, str]]


def _entailed(rng: random.Random, scene: _Scene) -> _Found:
    who = rng.choice([scene.who, *_IS[scene.who]])
    found = [(who, scene.does), (who, _ALSO[scene.does])]
    if scene.adjective:
        found.append((who, scene.adjective))
    if scene.color:
        found.append((who, f"wearing a {scene.color} shirt"))
    if scene.place:
        found += [(who, kind) for kind, places in _PLACES.items() if scene.place in places]
        found.append((who, scene.place))
    if scene.extra:
        found.append((who, f"{_ALSO[scene.does]} {scene.extra}"))
    return found


def _contradicted(rng: random.Random, scene: _Scene) -> _Found:
    who = rng.choice([scene.who, *_IS[scene.who]])
    other = rng.choice([does for does in _ALSO if _ALSO[does] != _ALSO[scene.does]])
    found = [(who, other), (who, _ALSO[other]), (rng.choice(_IS_NOT[scene.who]), scene.does)]
    if scene.adjective:
        found.append((who, _ADJECTIVES[scene.adjective]))
    if scene.color:
        color = rng.choice([color for color in _COLORS if color != scene.color])
        found.append((who, f"wearing a {color} shirt"))
    if scene.place:
        kind, places = next(item for item in _PLACES.items() if scene.place not in item[1])
        found += [(who, kind), (who, rng.choice(places))]
    if scene.extra:
        found.append((who, f"{_ALSO[scene.does]} {_OTHER_EXTRA[scene.extra]}"))
    return found


def _open(rng: random.Random, scene: _Scene) -> _Found:
    who = rng.choice([scene.who, *_IS[scene.who]])
    known = (scene.adjective, _ADJECTIVES.get(scene.adjective))
    found = [(who, rng.choice([other for other in _ADJECTIVES if other not in known]))]
    if not scene.color:
        found.append((who, f"wearing a {rng.choice(_COLORS)} shirt"))
    if not scene.place:
        kind = rng.choice(list(_PLACES))
        found += [(who, kind), (who, rng.choice(_PLACES[kind]))]
    if not scene.extra:
        extra = rng.choice(_EXTRAS)
        found.append((who, f"{_ALSO[scene.does]} {rng.choice([extra, _OTHER_EXTRA[extra]])}"))
    return found


_RULES = {"entailment": _entailed, "contradiction": _contradicted, "neutral": _open}


def _fitting(words: list[str]) -> list[str]:
    """The words, with "an" instead of "a" where the next begins with a vowel."""
    if words[0] == "A" and words[1][0] in "aeiou":
        return ["An", *words[1:]]
    return words


def _binary_parse(sentence: Sentence) -> str:
    subject, predicate = sentence
    return f"( {_nested(subject)} ( {_nested(predicate)} . ) )"


def _nested(words: list[str]) -> str:
    """The words as a tree in which each node has two children."""
    return words[0] if len(words) == 1 else f"( {words[0]} {_nested(words[1:])} )"


def _parse(sentence: Sentence) -> str:
    subject, predicate = (" ".join(f"({_tag(word)} {word})" for word in part) for part in sentence)
    return f"(ROOT (S (NP {subject}) (VP {predicate}) (. .)))"


def _tag(word: str) -> str:
    """The part of speech."""
    kinds = {
        "DT": ("a", "an", "the"),
        "PRP": ("he", "she"),
        "VBZ": ("is",),
        "IN": ("in", "on", "by", "with", "at", "after", "before", "for", "during", "down"),
        "RB": ("very", "alone", "outdoors", "indoors", "fast"),
        "JJ": (*_ADJECTIVES, *_COLORS),
    }
    known = next((tag for tag, words in kinds.items() if word.lower() in words), None)
    return known or ("VBG" if word.endswith("ing") and "thing" not in word else "NN")
