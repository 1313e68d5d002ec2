"""sweep.json: read as it was written, or an error that names what is wrong with it."""

import json

import pytest
from tests.sweeps.written import make_rates

from gradbook.errors import ConfigError, CorruptFileError
from gradbook.sweeps.format import read_sweep
from gradbook.sweeps.results import Sweep


@pytest.fixture
def rates():
    return make_rates()


def changed(sweep, change):
    facts = read_sweep(sweep.folder)
    change(facts)
    (sweep.folder / "sweep.json").write_text(json.dumps(facts))
    return sweep.folder


def set_to(path, value):
    def change(facts):
        *keys, last = path
        for key in keys:
            facts = facts[key]
        facts[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_to(["members"], None),
        set_to(["members"], {}),
        set_to(["members", 0], []),
        set_to(["members", 0, "values"], [1]),
        set_to(["members", 0, "folder"], 3),
        set_to(["members", 0, "error"], 3),
        set_to(["members", 0, "alone"], {}),
        set_to(["members", 0, "values"], {}),
        set_to(["swept"], ["lr"]),
        set_to(["level"], "high"),
        set_to(["format"], "other"),
        set_to(["version"], 99),
    ],
)
def test_a_damaged_file_is_named(rates, change):
    folder = changed(rates, change)
    with pytest.raises(CorruptFileError, match=r"sweep\.json"):
        Sweep(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_json_is_damage(rates, content):
    (rates.folder / "sweep.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"sweep\.json"):
        Sweep(rates.folder)


@pytest.mark.parametrize("name", ["..", ".", "", "../../secret", "/etc", "a/b", "a\x00b"])
def test_a_folder_that_leads_elsewhere_is_refused(rates, name):
    folder = changed(rates, lambda facts: facts["members"][0].update(folder=name))
    with pytest.raises((CorruptFileError, ConfigError)):
        Sweep(folder).members  # noqa: B018


def test_a_value_of_any_kind_is_shown(rates):
    sweep = Sweep(changed(rates, set_to(["members", 0, "values", "lr"], {"a": []})))
    assert "{'a': []}" in str(sweep)
    sweep.figure()


def test_what_is_written_is_read(rates):
    facts = read_sweep(rates.folder)
    assert [member["folder"] for member in facts["members"]] == [f"member-{k}" for k in range(1, 6)]
    assert facts["swept"]["lr"] == [0.001, 0.01, 0.1, 1.0, 10.0]


def test_a_folder_without_a_sweep_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"it has no sweep\.json"):
        read_sweep(tmp_path)
