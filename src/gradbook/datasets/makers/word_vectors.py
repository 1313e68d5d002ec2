"""Word vectors that were made, not trained: they stand in for GloVe's and fastText's.

The vector of a word of the tables below is the sum of what the tables say of it: its topic, its
nearer kin, and its place in relations such as male and female, so that the book's analogies hold.
The vector of another word tells beside which words it stands in the novels of `novels`. What a
word's features look like in numbers is drawn once for each.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gradbook.datasets.makers import inference_pairs, novels, reviews
from gradbook.datasets.stand_ins import write_zip

#: Topics, and within them, between bars, words that are close kin.
_TOPICS = """
electronics: chip chips intel microprocessor semiconductor | computer computers pc laptop hardware |
    software program programs code | electronics devices device phone | internet web network online
childhood: baby babies infant toddler newborn | child children kid kids | birth born pregnant
beauty: beautiful lovely gorgeous wonderful pretty | handsome elegant graceful | ugly plain
animals: dog dogs puppy | cat cats kitten | horse horses pony | bird birds | animal animals pet |
    fish whale shark | cow sheep pig goat
food: bread cake | apple banana orange fruit | cheese butter milk | rice pasta soup |
    meat beef chicken | dinner lunch breakfast meal | tea coffee wine beer water
money: bank banks | money cash dollars | price prices cost | market markets stock stocks shares |
    company companies firm business | profit profits earnings loss losses
government: president minister leader | government state federal | law laws court judge |
    election vote votes | war army soldiers military | police crime prison
weather: rain snow storm wind | cold cool chilly | hot warm heat | sun sunny | cloud clouds
time: day night morning evening | week month year years | today yesterday tomorrow | hour minute |
    monday tuesday wednesday thursday friday saturday sunday | spring summer autumn winter
body: hand hands arm arms | head face eyes eye | heart blood | leg legs foot feet
school: school schools | teacher teachers | student students pupil | book books novel story |
    lesson class university college | learn study reading
travel: car cars truck | train trains bus | ship boat | plane flight airport | road street |
    city town village | house home room kitchen
music: music song songs | guitar piano violin | singer band | dance dancing
film: film films movie movies picture | actor actress cast | plot script dialogue ending | scene
sport: game games match | team teams club | player players coach | ball goal score | win won victory
numbers: one two three four five six seven eight nine ten | hundred thousand million billion
colors: red blue green yellow | black white gray brown
science: science scientist physics chemistry biology | data model models theory | machine learning
    algorithm neural
health: doctor doctors nurse hospital | disease illness patient | medicine drug drugs
"""
#: Relations: the names of the places, and rows of words of which each has its place.
_RELATIONS = """
family, male female: man woman, boy girl, son daughter, father mother, brother sister, king queen,
    prince princess, uncle aunt, nephew niece, husband wife, he she, him her, his hers,
    actor actress, grandfather grandmother, gentleman lady, groom bride,
    waiter waitress, hero heroine, sir madam
geography, capital country people: beijing china chinese, tokyo japan japanese,
    paris france french, london england english, berlin germany german,
    rome italy italian, madrid spain spanish,
    moscow russia russian, athens greece greek, cairo egypt egyptian, delhi india indian,
    ottawa canada canadian, lisbon portugal portuguese, vienna austria austrian,
    oslo norway norwegian, stockholm sweden swedish, warsaw poland polish, dublin ireland irish,
    seoul korea korean, bangkok thailand thai, hanoi vietnam vietnamese, ankara turkey turkish,
    canberra australia australian, havana cuba cuban
quality, positive comparative superlative: bad worse worst, good better best, big bigger biggest,
    small smaller smallest, fast faster fastest, tall taller tallest, strong stronger strongest,
    young younger youngest, old older oldest, high higher highest, low lower lowest,
    long longer longest, short shorter shortest, rich richer richest, poor poorer poorest,
    happy happier happiest, great greater greatest, cheap cheaper cheapest, large larger largest
action, present past gerund: do did doing, go went going, see saw seeing, take took taking,
    give gave giving, come came coming, know knew knowing, run ran running, eat ate eating,
    write wrote writing, make made making, say said saying, think thought thinking,
    find found finding, tell told telling, become became becoming, begin began beginning,
    drink drank drinking, drive drove driving, speak spoke speaking, sing sang singing,
    swim swam swimming, fly flew flying, grow grew growing, play played playing, ride rode riding,
    kick kicked kicking, throw threw throwing, paint painted painting, draw drew drawing,
    wash washed washing, fix fixed fixing, chase chased chasing, sleep slept sleeping, lie lay lying
nature, one many: mountain mountains, river rivers, tree trees, flower flowers, stone stones
"""
#: Words of which each is the other's opposite.
_OPPOSITES = inference_pairs.OPPOSITES + (
    ", outdoors indoors, always never, all none, up down, in out, before after, day night, "
    "love hate, loved hated, enjoyed regret, win lose, buy sell, true false, rise fall"
)
#: Words that praise as those of which they are forms.
_PRAISE_TOO = {2: "greater greatest", 1: "better best", -2: "worse worst"}

#: How much each kind of feature counts, and what is a word's own.
_WEIGHTS = {"topic": 1.0, "kin": 1.5, "row": 1.5, "place": 1.5, "side": 0.6, "praise": 0.8}
_OWN = 0.5
#: The length of the vectors of words that are in no table.
_NOVELS_LENGTH = 2.0
#: Words that occur less often in the novels have no vector.
_MIN_FREQ = 3
_WINDOW = 4
#: So many words, the most frequent ones, tell others apart by standing beside them; those that
#: stand beside everything are left out.
_CONTEXTS = slice(30, 1030)
#: In the original this word has this number.
_KNOWN_NUMBER = ("beautiful", 3367)

Features = dict[str, dict[str, float]]


def table_features() -> Features:
    """The features of each word of the tables, with how much each counts."""
    features: Features = {}

    def add(word: str, kind: str, name: str, times: float = 1.0) -> None:
        own = features.setdefault(word, {})
        feature = f"{kind} {name}"
        own[feature] = own.get(feature, 0.0) + times * _WEIGHTS[kind]

    for topic, text in _entries(_TOPICS):
        for i, kin in enumerate(text.split("|")):
            for word in kin.split():
                add(word, "topic", topic)
                add(word, "kin", f"{topic} {i}")
    for name, text in _entries(_RELATIONS):
        topic, places = name.split(", ")
        for row in text.split(", "):
            for place, word in zip(places.split(), row.split(), strict=True):
                add(word, "topic", topic)
                add(word, "row", f"{topic} {row.split()[0]}")
                add(word, "place", f"{topic} {place}")
    for pair in _OPPOSITES.split(", "):
        for side, word in zip((1, -1), pair.split(), strict=True):
            add(word, "row", f"opposites {pair}", 0.4)
            add(word, "side", f"opposites {pair}", side)
    for praise in (reviews.PRAISE, _PRAISE_TOO):
        for grade, words in praise.items():
            for word in words.split():
                add(word, "praise", "of films", grade)
    return features


def _entries(table: str) -> Iterator[tuple[str, str]]:
    """The head and the rest of each entry of a table, which may have several lines."""
    for name, text in re.findall(r"^(\S[^:]*):((?:.+\n)(?: .+\n)*)", table, re.MULTILINE):
        yield name, " ".join(text.split())


def word_vectors(num_dims: int) -> tuple[list[str], np.ndarray]:
    """The words, and their vectors, float64 (words, num_dims); frequent words come first."""
    tokens = re.findall("[a-z]+", " ".join(map(novels.read_novel, novels.NOVELS)).lower())
    counts = Counter(tokens)
    features = table_features()
    listed = {*features, *reviews.words(), *inference_pairs.words()}
    words = [word for word, count in counts.most_common() if count >= _MIN_FREQ or word in listed]
    words += sorted(listed - set(words))
    word, number = _KNOWN_NUMBER
    words.remove(word)
    words.insert(number - 1, word)  # before them comes the unknown token
    # NumPy promises that this generator's numbers stay what they are.
    generator = np.random.RandomState(0)
    names = sorted({name for own in features.values() for name in own})
    directions = dict(zip(names, _draw(generator, len(names), num_dims), strict=True))
    vectors = _from_neighbors(tokens, words, counts, generator, num_dims)
    for i, word in enumerate(words):
        if word in features:
            parts = features[word].items()
            vectors[i] = sum(times * directions[name] for name, times in parts)
    return words, vectors + _OWN * _draw(generator, len(words), num_dims)


def _draw(generator: np.random.RandomState, num: int, num_dims: int) -> np.ndarray:
    """Directions that are drawn, of a length of about 1: float64 (num, num_dims)."""
    drawn: np.ndarray = generator.standard_normal((num, num_dims)) / num_dims**0.5
    return drawn


def _from_neighbors(
    tokens: list[str],
    words: list[str],
    counts: Counter[str],
    generator: np.random.RandomState,
    num_dims: int,
) -> np.ndarray:
    """A vector for each word from how much more often than by chance others stand beside it."""
    contexts = [word for word, _ in counts.most_common(_CONTEXTS.stop)][_CONTEXTS]
    rows = {word: i for i, word in enumerate(words)}
    columns = {word: i for i, word in enumerate(contexts)}
    row = np.array([rows.get(token, -1) for token in tokens])
    column = np.array([columns.get(token, -1) for token in tokens])
    beside = []
    for distance in range(1, _WINDOW + 1):
        for r, c in ((row[distance:], column[:-distance]), (row[:-distance], column[distance:])):
            both = (r >= 0) & (c >= 0)
            beside.append(r[both] * len(contexts) + c[both])
    size = len(words) * len(contexts)
    table = np.bincount(np.concatenate(beside), minlength=size).reshape(len(words), -1)
    expected = table.sum(1, keepdims=True) * (table.sum(0) / table.sum())
    gain = np.log(np.maximum(table / np.maximum(expected, 1e-9), 1.0))
    gain *= table / (table + 3)  # what happened once or twice may be chance
    vectors: np.ndarray = gain @ _draw(generator, len(contexts), num_dims)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors *= _NOVELS_LENGTH / np.maximum(lengths, 1e-9)
    return vectors


def write_glove_50(path: Path) -> None:
    """Writes an archive of vectors of 50 dimensions in the form of GloVe's."""
    _write(path, "glove.6B.50d", 50)


def write_glove_100(path: Path) -> None:
    """Writes an archive of vectors of 100 dimensions in the form of GloVe's."""
    _write(path, "glove.6B.100d", 100)


def write_glove_300(path: Path) -> None:
    """Writes an archive of vectors of 300 dimensions in the form of GloVe's."""
    _write(path, "glove.42B.300d", 300)


def write_wiki_en(path: Path) -> None:
    """Writes an archive of vectors of 300 dimensions in the form of fastText's."""
    _write(path, "wiki.en", 300, has_head=True)


def _write(path: Path, folder: str, num_dims: int, has_head: bool = False) -> None:
    words, vectors = word_vectors(num_dims)
    lines = [f"{len(words)} {num_dims}"] if has_head else []
    lines += [
        " ".join([word, *map("{:.5g}".format, vector)])
        for word, vector in zip(words, vectors.round(4).tolist(), strict=True)
    ]
    write_zip(path, [(f"{folder}/vec.txt", "".join(f"{line}\n" for line in lines).encode())])
