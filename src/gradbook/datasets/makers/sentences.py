"""Pairs of English and French sentences, which stand in for those of the Tatoeba project.

A small grammar makes them. Each English sentence has one translation, always with the same words,
so that a model can learn from some of them to translate the others. "You" is one person, and male
like whoever says "I".
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gradbook.datasets.stand_ins import write_zip


class _Person(NamedTuple):
    """Who does something: I, you, he, she, we, they, Tom or Mary."""

    en: str
    fr: str
    number: int  # of the French verb's form: je, tu, il, nous, ils
    is_female: bool = False
    is_many: bool = False
    home: str = ""  # chez ...


_PERSONS = (
    _Person("I", "Je", 0, home="moi"),
    _Person("You", "Tu", 1, home="toi"),
    _Person("He", "Il", 2, home="lui"),
    _Person("She", "Elle", 2, is_female=True, home="elle"),
    _Person("We", "Nous", 3, is_many=True, home="nous"),
    _Person("They", "Ils", 4, is_many=True, home="eux"),
    _Person("Tom", "Tom", 2, home="lui"),
    _Person("Mary", "Marie", 2, is_female=True, home="elle"),
)
_IS = ("am", "are", "is", "are", "are")  # by the French verb's form
_ETRE = ("suis", "es", "est", "sommes", "sont")
_AVOIR = ("ai", "as", "a", "avons", "ont")
_SHORT = {"am": "'m", "are": "'re", "is": "'s"}

#: What one is: English, and French for a man, for a woman and for several.
_STATES = [
    line.split(" / ")
    for line in """\
calm / calme / calme / calmes
sad / triste / triste / tristes
rich / riche / riche / riches
poor / pauvre / pauvre / pauvres
weak / faible / faible / faibles
brave / courageux / courageuse / courageux
tall / grand / grande / grands
small / petit / petite / petits
tired / fatigué / fatiguée / fatigués
ready / prêt / prête / prêts
late / en retard / en retard / en retard
early / en avance / en avance / en avance
alone / seul / seule / seuls
busy / occupé / occupée / occupés
happy / heureux / heureuse / heureux
free / libre / libre / libres
safe / en sécurité / en sécurité / en sécurité
sick / malade / malade / malades
strong / fort / forte / forts
young / jeune / jeune / jeunes
old / vieux / vieille / vieux
shy / timide / timide / timides
fast / rapide / rapide / rapides
here / ici / ici / ici
angry / en colère / en colère / en colère
kind / gentil / gentille / gentils
polite / poli / polie / polis
proud / fier / fière / fiers
lazy / paresseux / paresseuse / paresseux
funny / drôle / drôle / drôles
famous / célèbre / célèbre / célèbres
married / marié / mariée / mariés
awake / réveillé / réveillée / réveillés
honest / honnête / honnête / honnêtes
serious / sérieux / sérieuse / sérieux
curious / curieux / curieuse / curieux
""".splitlines()
]
#: What one did: English as past and as infinitive, and the French participle.
_DID = [
    line.split()
    for line in """\
lost lose perdu
won win gagné
ran run couru
slept sleep dormi
ate eat mangé
drank drink bu
cried cry pleuré
laughed laugh ri
smiled smile souri
waited wait attendu
worked work travaillé
sang sing chanté
danced dance dansé
tried try essayé
forgot forget oublié
paid pay payé
lied lie menti
called call appelé
helped help aidé
swam swim nagé
spoke speak parlé
began begin commencé
shouted shout crié
left leave parti
came come venu
fell fall tombé
arrived arrive arrivé
stayed stay resté
""".splitlines()
]
#: The participles that go with "être".
_WITH_ETRE = {"parti", "venu", "tombé", "arrivé", "resté"}
#: What one does with a thing: English, and the French forms for je, tu, il, nous, ils.
_VERBS = [
    line.split()
    for line in """\
see vois vois voit voyons voient
have ai as a avons ont
want veux veux veut voulons veulent
love aime aimes aime aimons aiment
buy achète achètes achète achetons achètent
sell vends vends vend vendons vendent
draw dessine dessines dessine dessinons dessinent
""".splitlines()
]
#: Things: English, and French with its gender.
_THINGS = [
    line.split()
    for line in """\
dog chien m
cat chat m
car voiture f
house maison f
book livre m
hat chapeau m
boat bateau m
key clé f
bike vélo m
horse cheval m
bird oiseau m
apple pomme f
egg œuf m
flower fleur f
table table f
chair chaise f
letter lettre f
watch montre f
tree arbre m
fish poisson m
knife couteau m
shirt chemise f
""".splitlines()
]
#: What a thing is like: English, and French for both genders.
_LOOKS = [
    line.split()
    for line in """\
black noir noire
white blanc blanche
red rouge rouge
green vert verte
blue bleu bleue
big grand grande
small petit petite
old vieux vieille
new neuf neuve
beautiful beau belle
""".splitlines()
]
_SAYINGS = """\
Go. / Va !
Go! / Va !
Hi. / Salut !
Hi! / Salut !
Run. / Cours !
Run! / Cours !
Who? / Qui ?
Wow! / Ça alors !
Fire! / Au feu !
Help! / À l'aide !
Stop! / Arrête-toi !
Wait! / Attends !
Hello! / Bonjour !
Thanks. / Merci.
Sing. / Chante.
Dance. / Danse.
Listen. / Écoute.
Come in. / Entre.
Get up. / Lève-toi.
Sit down. / Assieds-toi.
Look! / Regarde !
Eat. / Mange.
Drink. / Bois.
Sleep. / Dors.
Work. / Travaille.
Try. / Essaie.
Swim. / Nage.
Me too. / Moi aussi.
Not me. / Pas moi.
Wait for me. / Attends-moi.
Help me. / Aide-moi.
Call me. / Appelle-moi.
Follow me. / Suis-moi.
Tell me. / Dis-moi.
Don't cry. / Ne pleure pas.
Don't lie. / Ne mens pas.
Don't run. / Ne cours pas.
Don't laugh. / Ne ris pas.
Don't forget. / N'oublie pas.
Don't wait. / N'attends pas.
Good luck. / Bonne chance.
Well done. / Bien joué !
Of course. / Bien sûr.
No way! / Pas question !
I know. / Je sais.
"""
_VOWELS = "aeiouéêèœ"


def write_fra_eng(path: Path) -> None:
    """Writes the archive "fra-eng.zip" with the pairs, the shortest English sentences first."""
    pairs = list(dict(_pairs()).items())
    random.Random(0).shuffle(pairs)
    pairs.sort(key=lambda pair: len(pair[0]))
    # As in the true file, a narrow no-break space stands before a mark in French.
    lines = [f"{en}\t{fr.replace(' !', chr(0x202F) + '!')}\n" for en, fr in pairs]
    text = "".join(lines).replace(" ?", "\u202f?")
    write_zip(path, [("fra-eng/fra.txt", text.encode())])


def _pairs() -> Iterator[tuple[str, str]]:
    """All sentences, each with its translation."""
    for line in _SAYINGS.splitlines():
        en, _, fr = line.partition(" / ")
        yield en, fr
    for en, male, *_ in _STATES:
        yield f"Be {en}.", f"Sois {male}."
    for who in _PERSONS:
        yield from _of_states(who)
        yield from _of_deeds(who)
        yield from _of_things(who)
    yield from _about_things()


def _of_states(who: _Person) -> Iterator[tuple[str, str]]:
    """What somebody is, is not, and whether."""
    is_, est = _IS[who.number], _ETRE[who.number]
    is_name = who.en in ("Tom", "Mary")
    begin = f"{who.en} is" if is_name else who.en + _SHORT[is_]
    home = f"chez {who.home}"
    for en, *forms in [*_STATES, ["home", home, home, home]]:
        fr = forms[2 if who.is_many else 1 if who.is_female else 0]
        yield f"{begin} {en}.", f"{who.fr} {est} {fr}."
        yield f"{begin} not {en}.", f"{who.fr} {_not(est)} {fr}."
        if who.en != "I":
            asked = who.en if is_name else who.en.lower()
            yield f"{is_.title()} {asked} {en}?", f"{_asks(who, est)} {fr} ?"


def _of_deeds(who: _Person) -> Iterator[tuple[str, str]]:
    """What somebody did, did not do, and whether."""
    for past, infinitive, participle in _DID:
        helping, fr = _AVOIR[who.number], participle
        if participle in _WITH_ETRE:  # it then agrees with the person
            helping = _ETRE[who.number]
            fr += "e" * who.is_female + "s" * who.is_many
        yield f"{who.en} {past}.", f"{_joined(who.fr, helping)} {fr}."
        yield f"{who.en} didn't {infinitive}.", f"{who.fr} {_not(helping)} {fr}."
        if who.en != "I":
            asked = who.en if who.en in ("Tom", "Mary") else who.en.lower()
            yield f"Did {asked} {infinitive}?", f"{_asks(who, helping)} {fr} ?"


def _of_things(who: _Person) -> Iterator[tuple[str, str]]:
    """What somebody does with a thing."""
    for en, *forms in _VERBS:
        verb, fr = en, _joined(who.fr, forms[who.number])
        if who.number == 2:
            verb = "has" if en == "have" else f"{en}s"
        for thing, *french in _THINGS:
            a = "an" if thing[0] in _VOWELS else "a"
            yield f"{who.en} {verb} {a} {thing}.", f"{fr} {_with('un', *french)}."
            yield f"{who.en} {verb} the {thing}.", f"{fr} {_with('le', *french)}."


def _about_things() -> Iterator[tuple[str, str]]:
    """What a thing is like, and where."""
    for thing, *french in _THINGS:
        le, mon = (_with(article, *french) for article in ("le", "mon"))
        for en, *forms in _LOOKS:
            fr = forms[french[1] == "f"]
            yield f"The {thing} is {en}.", f"{_capital(le)} est {fr}."
            yield f"My {thing} is {en}.", f"{_capital(mon)} est {fr}."
        a = "an" if thing[0] in _VOWELS else "a"
        yield f"It's {a} {thing}.", f"C'est {_with('un', *french)}."
        yield f"Here is my {thing}.", f"Voici {mon}."
        yield f"Here is the {thing}.", f"Voici {le}."
        yield f"Where is my {thing}?", f"Où est {mon} ?"
        yield f"Where is the {thing}?", f"Où est {le} ?"
        yield f"Look at the {thing}.", f"Regarde {le}."


def _joined(pronoun: str, verb: str) -> str:
    """A person and a verb: "je" loses its vowel before one."""
    return f"J'{verb}" if pronoun == "Je" and verb[0] in _VOWELS else f"{pronoun} {verb}"


def _not(verb: str) -> str:
    return f"n'{verb} pas" if verb[0] in _VOWELS else f"ne {verb} pas"


def _asks(who: _Person, verb: str) -> str:
    """The beginning of a question: "Est-il", "A-t-elle", "Tom est-il"."""
    pronoun = {"Tom": "il", "Marie": "elle"}.get(who.fr, who.fr.lower())
    inverted = f"{verb}{'-t-' if verb[-1] == 'a' else '-'}{pronoun}"
    return f"{who.fr} {inverted}" if who.fr in ("Tom", "Marie") else _capital(inverted)


def _with(article: str, noun: str, gender: str) -> str:
    """A noun with its article: "le", "un" or "mon", in the form that the noun wants."""
    if article == "le" and noun[0] in _VOWELS:
        return f"l'{noun}"
    if gender == "f":
        article = {"le": "la", "un": "une", "mon": "ma"}[article]
    return f"{article} {noun}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
