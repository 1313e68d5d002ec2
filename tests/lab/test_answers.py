"""Answers that are safe whatever is in them."""

import json
import os

import pytest

from gradbook.errors import ConfigError, CorruptFileError
from gradbook.lab import answers
from gradbook.lab.answers import as_json, picture

SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "runs" / "mlp-1"
    (folder / "inspect").mkdir(parents=True)
    (folder / "curve.svg").write_bytes(SVG)
    (folder / "curve.png").write_bytes(b"\x89PNG")
    (folder / "inspect" / "weights.png").write_bytes(b"\x89PNG")
    return folder


@pytest.mark.parametrize("text", ["\udcff", "\u202e</script>", "a\nb\0", "\U0001f600"])
def test_any_text_can_be_answered(text):
    answer = as_json({text: text})
    assert answer.body.isascii()
    assert b"\n" not in answer.body
    assert json.loads(answer.body) == {text: text}


def test_numbers_that_json_lacks_become_null():
    assert as_json([float("nan"), float("inf"), 1.5]).body == b"[null,null,1.5]"


def test_an_answer_may_have_another_status():
    assert as_json({}, 404).status_code == 404


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("curve.svg", "image/svg+xml"),
        ("curve.png", "image/png"),
        ("inspect/weights.png", "image/png"),
    ],
)
def test_a_picture_is_what_its_name_says(folder, name, kind):
    answer = picture(folder, name)
    assert answer.headers["content-type"] == kind
    assert answer.body == (folder / name).read_bytes()


def test_a_picture_that_is_opened_by_itself_may_do_nothing(folder):
    policy = picture(folder, "curve.svg").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert policy.endswith("sandbox")
    assert "script" not in policy


@pytest.mark.parametrize(
    "name",
    ["run.json", "metrics.jsonl", "curve", "curve.html", "curve.svg.html", ".svg", "curve.SVGZ"],
)
def test_what_is_no_picture_is_not_given(folder, name):
    (folder / name).write_text("<script>")
    with pytest.raises(ConfigError, match="is no picture"):
        picture(folder, name)


def test_a_picture_that_is_not_there_is_told(folder):
    with pytest.raises(ConfigError, match="There is no picture"):
        picture(folder, "loss.png")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_that_leads_out_is_not_followed(folder, tmp_path, kind):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a.png").write_bytes(b"secret")
    if kind == "file":
        (folder / "a.png").symlink_to(secret / "a.png")
        name = "a.png"
    else:
        (folder / "sub").symlink_to(secret)
        name = "sub/a.png"
    with pytest.raises(CorruptFileError, match="leads out"):
        picture(folder, name)
    with pytest.raises(CorruptFileError, match="leads out"):
        picture(folder, "../../secret/a.png")


def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "a.png")
    with pytest.raises(CorruptFileError, match="pipe"):
        picture(folder, "a.png")


def test_a_very_large_picture_is_not_read(folder):
    with open(folder / "a.png", "wb") as stream:
        stream.truncate(answers.MAX_PICTURE_BYTES + 1)
    with pytest.raises(CorruptFileError, match="bytes"):
        picture(folder, "a.png")
