"""Reviews of films that nobody wrote: they stand in for those of IMDb.

A review praises some things and blames others, and its label is what prevails. A word of praise may
be negated, so that single words are not enough to be always right.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path

from gradbook.datasets.stand_ins import write_tar

#: Words by how much they praise: from very bad, -2, to very good, 2.
PRAISE = {
    2: "great wonderful brilliant superb excellent fantastic amazing outstanding magnificent "
    "masterful perfect stunning unforgettable terrific",
    1: "good nice pleasant charming solid enjoyable fun likable decent clever touching fresh "
    "beautiful entertaining moving",
    -1: "weak slow dull bland flat predictable boring tedious mediocre silly confusing tired "
    "forced clumsy disappointing",
    -2: "bad terrible awful horrible dreadful atrocious unwatchable pathetic laughable abysmal "
    "worthless painful stupid ridiculous",
}

#: What a name in braces may become: parts of sentences, of which {good} and {bad} praise and blame.
_GRAMMAR_TEXT = """
aspect: plot | story | acting | cast | script | dialogue | music | score | camera work | ending |
    direction | pacing | lead actor | lead actress | humor | editing | set design | second half |
    opening scene | atmosphere | main character | cinematography
film: film | movie | picture
person: the director | the writer | the whole cast | everyone involved
very: very | really | so | simply | truly | quite | just
place: paris | london | new york | a small town | a village by the sea | a big city | the desert
time: the 1930s | the war | the last century | our own time | a single night | one long summer
who: two brothers | a young teacher | a retired detective | an old couple | a group of students |
    a doctor and his daughter | three friends | a family of farmers | a lonely writer
genre: comedy | drama | thriller | horror film | western | romance | mystery | war film
source: watched | saw | rented | borrowed
day: last night | on television | with my wife | with some friends | on a long flight | at home
praise: The {aspect} is {very} {good} and kept me watching. |
    The {aspect} was {good} from start to finish. | A {good} {aspect} carries this {film}. |
    I thought the {aspect} was {good}, and so did my friends. | What a {good} {film} this is! |
    I loved the {aspect} and the {good} {aspect}. | This {film} is {very} {good}. |
    {person} did a {good} job with the {aspect}. | It has a {good} {aspect} and a {good} {aspect}. |
    I enjoyed every minute of it, and the {aspect} is {good} too. | I recommend it to everyone. |
    The {aspect} alone is worth your time. | You will love this {good} {film} as much as i did.
blame: The {aspect} is {very} {bad} and made me look at my watch. |
    The {aspect} was {bad} from start to finish. | A {bad} {aspect} ruins this {film}. |
    I thought the {aspect} was {bad}, and so did my friends. | What a {bad} {film} this is! |
    I hated the {aspect} and the {bad} {aspect}. | This {film} is {very} {bad}. |
    {person} did a {bad} job with the {aspect}. | It has a {bad} {aspect} and a {bad} {aspect}. |
    I regret every minute of it, and the {aspect} is {bad} too. | I warn everyone against it. |
    The {aspect} alone is a waste of your time. | You will hate this {bad} {film} as much as i did.
denied_blame: The {aspect} is not {bad} at all. | There is nothing {bad} about the {aspect}. |
    I never found the {aspect} {bad} for a moment. | I expected a {bad} {film} and was wrong. |
    Others call the {aspect} {bad}, but i do not agree. | The {aspect} is anything but {bad} here.
denied_praise: The {aspect} is not {good} at all. | There is nothing {good} about the {aspect}. |
    I never found the {aspect} {good} for a moment. | I expected a {good} {film} and was wrong. |
    Others call the {aspect} {good}, but i do not agree. | The {aspect} is anything but {good} here.
neutral: The story is set in {place} during {time}. | It is about {who} in {place}. |
    I {source} this {film} {day}. | It runs for about two hours. | It is a {genre} about {who}. |
    The {film} begins with {who} who move to {place}. | It was shot in {place}. |
    Then {who} meet {who}, and everything changes. | The {aspect} reminded me of another {genre}. |
    As far as i know, it was made for {person}. | There is also a book about {who} in {time}.
"""

NUM_TRAIN, NUM_TEST = 4000, 2000


def _grammar(text: str) -> dict[str, list[str]]:
    rules = re.findall(r"^(\w+): ((?:.+\n)(?:    .+\n)*)", text, re.MULTILINE)
    return {name: [" ".join(part.split()) for part in parts.split("|")] for name, parts in rules}


_GRAMMAR = _grammar(_GRAMMAR_TEXT)
for _name, _grades in (("good", (2, 1)), ("bad", (-2, -1))):
    _GRAMMAR[_name] = [word for grade in _grades for word in PRAISE[grade].split()]


def words() -> set[str]:
    """All words that a review may have, in small letters."""
    text = " ".join([_GRAMMAR_TEXT, *PRAISE.values()])
    return set(re.findall(r"[a-z]+", text.lower()))


def write_imdb(path: Path) -> None:
    """Writes a compressed archive of reviews in the form of the Large Movie Review Dataset.

    Each is a file: that of the review number 7, with 9 of 10 stars, is aclImdb/train/pos/7_9.txt.
    """
    write_tar(path, _files(random.Random(0)), gzipped=True)


def _files(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    for split, num in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        for kind, sign in (("pos", 1), ("neg", -1)):
            for i in range(num // 2):
                text, net = _review(rng, sign)
                stars = min(6 + net, 10) if sign > 0 else max(5 - net, 1)
                yield f"aclImdb/{split}/{kind}/{i}_{stars}.txt", text.encode()


def _review(rng: random.Random, sign: int) -> tuple[str, int]:
    """A review that is positive if `sign` is 1, and how many more opinions are for it than not."""
    net = 0
    while net <= 0:
        opinions = [rng.random() < 0.7 for _ in range(rng.randint(3, 10))]
        net = 2 * sum(opinions) - len(opinions)
    sentences = [_opinion(rng, is_for == (sign > 0)) for is_for in opinions]
    sentences += [_expand("{neutral}", rng) for _ in range(rng.randint(3, 12))]
    rng.shuffle(sentences)
    if rng.random() < 0.3:
        sentences.insert(len(sentences) // 2, "<br /><br />")
    return " ".join(sentences), net


def _opinion(rng: random.Random, is_praise: bool) -> str:
    if rng.random() < 0.2:
        return _expand("{denied_blame}" if is_praise else "{denied_praise}", rng)
    return _expand("{praise}" if is_praise else "{blame}", rng)


def _expand(text: str, rng: random.Random) -> str:
    """A sentence of the grammar, with a capital at its beginning."""
    while "{" in text:
        text = re.sub(r"\{(\w+)\}", lambda name: rng.choice(_GRAMMAR[name[1]]), text)
    text = re.sub(r"\ba (?=[aeiou])", "an ", text)
    return text[0].upper() + text[1:]
