import pytest

from gradbook.escape import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2J\x07\r\x7f\x9b", r"\x1b[2J\x07\r\x7f\x9b"),
        ("\u202eabc", r"\u202eabc"),  # would turn the rest of the line round
        ("größe 模型 é 👩\u200d🔬", "größe 模型 é 👩\u200d🔬"),
        ("two\n\tlines", "two\n\tlines"),
        ("5\u202f%", "5\u202f%"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, expected):
    assert printable(text) == expected
