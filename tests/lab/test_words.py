"""What the page says: every text is in words/, in each language, and nowhere else."""

import json
import re
from pathlib import Path

import pytest
from tests.lab.javascript import literals

import gradbook.lab

PAGE = Path(gradbook.lab.__file__).with_name("page")
FILES = sorted(PAGE.glob("*.js"))
WORDS = PAGE / "words"
LANGUAGES = sorted(path.name for path in WORDS.iterdir() if path.is_dir())
PARTS = sorted(path.stem for path in (WORDS / "en").glob("*.json"))

#: The beginnings of keys that are put together where the page runs, beside those of templates.
DYNAMIC = ("nav.",)

#: What looks like a text for a reader, and is none: keys of the keyboard, and the like.
NO_TEXTS = {"Enter", "Escape", "Home", "End", "PageUp", "PageDown", "Tab", "Space", "Backspace"}
NO_TEXTS |= {"Delete", "Shift", "POST", "GET"}


def words(language, part):
    """The texts of one part of the page, by their keys; a key that is there twice is an error."""

    def once(pairs):
        assert len(dict(pairs)) == len(pairs), [key for key, _ in pairs]
        return dict(pairs)

    text = (WORDS / language / f"{part}.json").read_text(encoding="utf-8")
    return json.loads(text, object_pairs_hook=once)


ENGLISH = {key: text for part in PARTS for key, text in words("en", part).items()}


def asked_for():
    """The keys that the page asks for by name, and the beginnings of those it puts together."""
    named, begun = {}, {}
    for path in FILES:
        for literal in literals(path.read_text(encoding="utf-8")):
            if re.search(r"\bt\((?:[^()]*[?:]\s*)?$", literal.before):
                begin, *rest = literal.text.split("${}", 1)
                (begun if rest else named)[begin] = f"{path.name}:{literal.line}"
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    named |= dict.fromkeys(re.findall(r'data-words(?:-label)?="([^"]+)"', page), "index.html")
    return named, begun


def test_every_text_that_is_asked_for_is_there():
    named, begun = asked_for()
    assert {key: where for key, where in named.items() if key not in ENGLISH} == {}
    known = tuple(ENGLISH)
    lost = {begin for begin in begun if not any(key.startswith(begin) for key in known)}
    assert lost == set()
    assert "" not in begun, "a key that is put together begins with the name of its part"


def test_no_text_is_there_for_nothing():
    everything = {
        literal.text for path in FILES for literal in literals(path.read_text(encoding="utf-8"))
    }
    named, begun = asked_for()
    begins = (*begun, *DYNAMIC)
    unused = {
        key
        for key in ENGLISH
        if not {key, key.removesuffix("_one")} & (everything | set(named))
        and not key.startswith(begins)
    }
    assert unused == set()


def test_a_key_is_in_one_part_only():
    keys = [key for part in PARTS for key in words("en", part)]
    assert sorted(keys) == sorted(set(keys))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("language", [code for code in LANGUAGES if code != "en"])
def test_a_language_has_the_same_texts(language, part):
    english, other = words("en", part), words(language, part)
    assert set(other) == set(english)
    for key, text in english.items():
        if key.endswith("_one"):  # "1 run" may leave the number out
            continue
        names = sorted(set(re.findall(r"\{\w+\}", text)))
        assert sorted(set(re.findall(r"\{\w+\}", other[key]))) == names, key
        assert bool(other[key].strip()) == bool(text.strip()), key


def test_a_language_has_no_other_files():
    for language in LANGUAGES:
        assert sorted(path.stem for path in (WORDS / language).glob("*.json")) == PARTS


def test_the_page_knows_its_languages_and_parts():
    code = (PAGE / "words.js").read_text(encoding="utf-8")
    known = re.search(r"export const languages = \{(.*?)\}", code, re.DOTALL)[1]
    assert sorted(re.findall(r"(\w+):", known)) == LANGUAGES
    parts = re.search(r"PARTS = \[(.*?)\]", code, re.DOTALL)[1]
    assert sorted(re.findall(r'"(\w+)"', parts)) == PARTS


#: Words that mean the same as one that the page says already; docs/lab.md has them all.
_SECOND_WORDS = {
    "훈련": "학습",
    "최적화 알고리즘": "옵티마이저",
    "에포크": "에폭",
    "매개변수": "파라미터",
    "학습율": "학습률",
    "라벨": "레이블",
    "그래디언트": "기울기",
    "그레이디언트": "기울기",
    "숨은 층": "은닉층",
    "비용": "손실",
    "데이터 세트": "데이터셋",
    "최고값": "가장 좋은 값",  # the best loss is the lowest
}


@pytest.mark.parametrize("part", PARTS)
def test_one_thing_has_one_word_in_korean(part):
    found = {
        key: word
        for key, text in words("ko", part).items()
        for word in _SECOND_WORDS
        if word in text
    }
    assert found == {}


def is_a_text(literal):
    """Whether a text in the code is one for a reader, as far as its look tells."""
    text, before = literal.text.replace("${}", " ").strip(), literal.before
    if text in NO_TEXTS or text.startswith(("#", "/", ".", "--", "&", "?", "gradbook ")):
        return False  # addresses, and commands, which are the same in each language
    if re.search(r"\d+px |[\w\]]:\w|^[a-z]+(, [a-z]+)+$", text):
        return False  # fonts and selectors
    text = text.replace("gradbook lab", "")
    if re.search(r"(class: |className = |import |from |Error\(|[Tt]ype: |font = )[^,]*$", before):
        return False  # names of classes, of files, what a developer is told, a font
    if re.search(r"(querySelector(All)?|matchMedia|matches|closest|observe)\($", before):
        return False
    return bool(re.search(r"[A-Za-z가-힣]{2,},? [A-Za-z가-힣]{2,}|^[A-Z][a-z]{2,}$|[가-힣]", text))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_text_stands_in_the_code(path):
    if path.name == "words.js":  # it has the languages' own names
        return
    found = [each for each in literals(path.read_text(encoding="utf-8")) if is_a_text(each)]
    assert [(each.line, each.text) for each in found] == []


def test_a_text_in_the_code_would_be_found():
    code = 'x = element("p", {}, "No runs yet"); // "a comment"\ny = `There are ${n} runs`;'
    code += "\nz = t(`status.${s}`) + /\"/.exec(`${t('a.b')} c`);"
    found = literals(code)
    assert [each.text for each in found if is_a_text(each)] == ["No runs yet", "There are ${} runs"]
    asked = [each.text for each in found if re.search(r"\bt\($", each.before)]
    assert asked == ["status.${}", "a.b"]
