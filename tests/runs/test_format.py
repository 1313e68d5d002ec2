import errno
import json
import math
import os
import re
from pathlib import Path

import jsonschema
import pytest
from tests.runs.folders import facts_of, make_run, metrics_of

from gradbook.errors import ConfigError, CorruptFileError, StorageError
from gradbook.history import History
from gradbook.record import Metric
from gradbook.runs import format as run_format
from gradbook.runs.format import (
    MetricsLog,
    files_in,
    read_metrics,
    read_run,
    results_of,
    write_run,
)
from gradbook.untrusted import inside

OPEN = facts_of("a", status="running")


def rewritten(folder, **changes):
    """Puts other facts into run.json, with a checksum that fits."""
    write_run(folder, read_run(folder) | changes)


def log_of(folder, *metrics, resume_at=None):
    log = MetricsLog(folder, resume_at)
    for metric in metrics:
        log.append(metric)
    log.close()
    return log


def points(*ys):
    return [Metric("train_loss", float(i), y) for i, y in enumerate(ys)]


def schema_of(name):
    return json.loads(Path(run_format.__file__).with_name(name).read_text())


# run.json


def test_what_is_written_is_read():
    facts = facts_of("mlp-1")
    write_run("mlp-1", facts)
    told = read_run("mlp-1")
    assert told.pop("checksum").startswith("sha256:")
    assert told == facts


def test_run_json_is_indented_text_for_a_reader():
    folder = make_run()
    assert '\n  "status": "finished",\n' in (folder / "run.json").read_text()


def test_nan_and_infinity_become_null():
    write_run("a", facts_of("a", final={"val_loss": math.nan, "train_loss": -math.inf}))
    assert read_run("a")["final"] == {"val_loss": None, "train_loss": None}


def test_keys_that_are_no_text_become_text():
    facts = facts_of("a")
    facts["model"]["hyperparameters"] = {10: "a", 2: "b"}
    write_run("a", facts)
    assert read_run("a")["model"]["hyperparameters"] == {"10": "a", "2": "b"}


def test_a_name_that_is_not_unicode_survives():
    write_run("a", facts_of("a", command=["train", "caf\udce9.py", "日本"]))
    assert read_run("a")["command"] == ["train", "caf\udce9.py", "日本"]


def test_a_run_fits_the_published_schema():
    schema = schema_of("run.schema.json")
    jsonschema.Draft7Validator.check_schema(schema)
    folder = make_run(metrics=[*metrics_of(), Metric("val_loss", 4, math.nan, "epoch")])
    jsonschema.validate(read_run(folder), schema)


def test_every_line_fits_the_published_schema():
    schema = schema_of("metric.schema.json")
    jsonschema.Draft7Validator.check_schema(schema)
    log_of(".", *points(1.0, math.nan))
    log_of(".", *points(2.0), resume_at=1)
    for line in Path("metrics.jsonl").read_text().splitlines():
        jsonschema.validate(json.loads(line), schema)


def test_a_folder_without_a_run_is_said_to_have_none():
    Path("empty").mkdir()
    with pytest.raises(ConfigError, match=r"no run in 'empty'.*gradbook train"):
        read_run("empty")


def test_a_missing_run_json_beside_other_files_is_damage():
    folder = make_run()
    (folder / "run.json").unlink()
    with pytest.raises(CorruptFileError, match=r"run\.json is damaged: it is missing.*best\.pt"):
        read_run(folder)


def test_a_link_to_nothing_is_damage():
    Path("a").mkdir()
    Path("a/run.json").symlink_to("nothing")
    with pytest.raises(CorruptFileError, match="link to nothing"):
        read_run("a")


def test_damage_says_which_checkpoints_are_left():
    folder = make_run()
    (folder / "run.json").write_text("{")
    (folder / "checkpoints/last.pt").unlink()
    with pytest.raises(CorruptFileError, match=r"not JSON.*loaded from checkpoints/best\.pt there"):
        read_run(folder)


def test_damage_without_checkpoints_says_to_train_again():
    folder = make_run()
    (folder / "run.json").write_text("{")
    for name in ("last", "best"):
        (folder / f"checkpoints/{name}.pt").unlink()
    with pytest.raises(CorruptFileError, match=r"no checkpoint .*train again"):
        read_run(folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"[1]", "does not say"),
        (b'{"format": "another"}', "does not say"),
        (b'{"format": "gradbook run", "version": NaN}', "NaN is not JSON"),
        (b'{"format": "gradbook run", "version": 1}', "checksum differs"),
        (b'{"format": "gradbook run", "version": 1, "seconds": 1e999}', "Out of range"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_with_run_json_is_said(content, reason):
    folder = make_run()
    (folder / "run.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=rf"run\.json is damaged: .*{reason}"):
        read_run(folder)


def test_a_changed_figure_is_noticed():
    folder = make_run()
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"seconds": 12.5', '"seconds": 11.5'))
    with pytest.raises(CorruptFileError, match="changed after it was written"):
        read_run(folder)


def test_facts_of_a_wrong_type_are_refused_although_the_checksum_fits():
    folder = make_run()
    rewritten(folder, epochs="many")
    with pytest.raises(CorruptFileError, match="epochs must be integer"):
        read_run(folder)


def test_a_newer_format_asks_for_an_upgrade():
    folder = make_run()
    rewritten(folder, version=2)
    with pytest.raises(CorruptFileError, match=r"newer gradbook.*version 2.*up to 1.*Upgrade"):
        read_run(folder)


def test_keys_of_later_releases_are_passed_over():
    folder = make_run()
    rewritten(folder, tags=["good"])
    assert read_run(folder)["tags"] == ["good"]


@pytest.mark.parametrize("word", ["nan", "1.0"])
def test_a_value_that_is_another_word_is_refused(word):
    log = MetricsLog(".")
    log._append({"label": "a", "x": 1, "y": word, "kind": "point"})
    log.close()
    with pytest.raises(CorruptFileError, match="line 1 is damaged: y must match"):
        read_metrics(".", OPEN)


@pytest.mark.slow
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_noticed_or_changes_nothing(bit):
    folder = make_run()
    facts, metrics = read_run(folder), read_metrics(folder, read_run(folder))
    for name in ("run.json", "metrics.jsonl"):
        path = folder / name
        content = path.read_bytes()
        for index in range(bit, len(content), 8):
            flipped = bytearray(content)
            flipped[index] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                told = read_run(folder)
                assert (told, read_metrics(folder, told)) == (facts, metrics)
            except CorruptFileError:
                continue
        path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl"])
def test_a_shortened_file_is_noticed_wherever_it_ends(name):
    folder = make_run()
    content = (folder / name).read_bytes()
    facts = read_run(folder)
    for length in range(0, len(content) - 1, 7):
        (folder / name).write_bytes(content[:length])
        with pytest.raises(CorruptFileError, match=re.escape(name)):
            read_metrics(folder, read_run(folder) if name == "run.json" else facts)


# Results


def test_results_are_the_last_and_the_best_finite_means():
    rows = [
        {"epoch": 1, "val_loss": 2.0, "val_acc": 0.7},
        {"epoch": 2, "val_loss": 3.0, "val_acc": 0.8},
        {"epoch": 3, "val_loss": math.nan, "val_acc": 0.6},
    ]
    results = results_of(History(rows))
    assert (results["epochs"], results["final"]["val_acc"]) == (3, 0.6)
    assert results["best"] == {
        "val_loss": {"value": 2.0, "epoch": 1},
        "val_acc": {"value": 0.8, "epoch": 2},
    }


def test_a_setting_that_was_recorded_has_no_best():
    results = results_of(History([{"epoch": 1, "lr": 0.1, "val_loss": math.nan}]))
    assert results["best"] == {}
    assert set(results["final"]) == {"lr", "val_loss"}


def test_no_epoch_has_no_results():
    assert results_of(History()) == {"epochs": 0, "final": {}, "best": {}}


# metrics.jsonl


def test_recorded_values_are_read_as_they_were():
    metrics = [
        *metrics_of(),
        Metric("val_loss", 4, math.inf, "epoch"),
        Metric("val_loss", 5, -math.inf, "epoch"),
    ]
    log_of(".", *metrics)
    assert read_metrics(".", OPEN) == metrics


def test_nan_is_written_as_a_word():
    log_of(".", *points(math.nan))
    assert '"y":"NaN"' in Path("metrics.jsonl").read_text()
    assert math.isnan(read_metrics(".", OPEN)[0].y)


def test_a_line_is_visible_at_once():
    log = MetricsLog(".")
    log.append(points(1.0)[0])
    assert read_metrics(".", OPEN) == points(1.0)
    log.close()


def test_a_log_goes_on_where_the_last_one_ended():
    first = log_of(".", *points(1.0, 2.0))
    second = log_of(".", *points(3.0))
    assert (first.lines, second.lines) == (2, 3)
    assert [metric.y for metric in read_metrics(".", OPEN)] == [1.0, 2.0, 3.0]


def test_a_resumed_run_supersedes_what_came_after_its_checkpoint():
    log_of(".", *points(1, 2, 3, 4))
    log = log_of(".", *points(30, 40), resume_at=2)
    assert log.lines == 7
    assert [metric.y for metric in read_metrics(".", OPEN)] == [1, 2, 30, 40]


def test_a_run_may_be_resumed_again_and_from_an_older_branch():
    log_of(".", *points(1, 2, 3))  # lines 1 to 3
    log_of(".", *points(20), resume_at=1)  # 4 is the event, 5 the value
    log_of(".", *points(300), resume_at=5)
    assert [metric.y for metric in read_metrics(".", OPEN)] == [1, 20, 300]
    log_of(".", *points(4), resume_at=3)
    assert [metric.y for metric in read_metrics(".", OPEN)] == [1, 2, 3, 4]


def test_a_run_may_be_resumed_at_its_beginning():
    log_of(".", *points(1))
    log_of(".", *points(2), resume_at=0)
    assert [metric.y for metric in read_metrics(".", OPEN)] == [2]


def test_a_resume_beyond_the_end_is_refused():
    log_of(".", *points(1))
    with pytest.raises(CorruptFileError, match="ends after 1 lines, and 5 were written"):
        MetricsLog(".", resume_at=5)


def test_a_torn_line_is_cut_off_before_a_log_goes_on():
    log_of(".", *points(1, 2))
    content = Path("metrics.jsonl").read_bytes()
    Path("metrics.jsonl").write_bytes(content[:-10])
    log_of(".", *points(3))
    assert [metric.y for metric in read_metrics(".", OPEN)] == [1, 3]


def test_a_damaged_log_is_not_gone_on_with():
    log_of(".", *points(1, 2))
    path = Path("metrics.jsonl")
    path.write_text(path.read_text().replace('"y":1', '"y":5'))
    with pytest.raises(CorruptFileError, match=r"metrics\.jsonl, line 1 is damaged"):
        MetricsLog(".")


def test_a_full_disk_leaves_whole_lines(monkeypatch):
    log = MetricsLog(".")
    log.append(points(1)[0])
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, line: write(file, line[:5]))
        with pytest.raises(StorageError, match=r"metrics\.jsonl cannot be written: No space left"):
            log.append(points(2)[0])
    log.append(points(3)[0])
    log.close()
    assert log.lines == 2
    assert [metric.y for metric in read_metrics(".", OPEN)] == [1, 3]


def test_a_write_that_fails_is_explained(monkeypatch):
    log = MetricsLog(".")

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(StorageError, match="Input/output error"):
            log.append(points(1)[0])
    log.close()


def test_a_sync_that_fails_is_explained_and_the_file_is_closed(monkeypatch):
    log = MetricsLog(".")

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        log.close()
    log.close()


def test_a_folder_that_is_gone_is_explained():
    with pytest.raises(StorageError, match=r"metrics\.jsonl cannot be written"):
        MetricsLog("gone")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[1:],
        lambda lines: lines[:1] + lines[2:],
        lambda lines: [lines[0], *lines],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0].replace(b"train", b"trian"), *lines[1:]],
        lambda lines: [b"\n", *lines],
    ],
    ids=["first removed", "one removed", "one twice", "exchanged", "changed", "empty line"],
)
def test_lines_that_were_tampered_with_are_noticed(spoil):
    log_of(".", *points(1, 2, 3))
    path = Path("metrics.jsonl")
    path.write_bytes(b"".join(spoil(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(CorruptFileError, match=r"metrics\.jsonl, line \d is damaged"):
        read_metrics(".", OPEN)


def test_a_line_that_is_no_value_is_refused_although_its_crc_fits():
    log = MetricsLog(".")
    log._append({"label": "a", "x": 1, "y": None, "kind": "point"})
    log.close()
    with pytest.raises(CorruptFileError, match=r"line 1 is damaged: y must be"):
        read_metrics(".", OPEN)


def test_a_leap_forward_is_refused_although_its_crc_fits():
    log = MetricsLog(".")
    log._append({"event": "resume", "lines": 5})
    log.close()
    with pytest.raises(CorruptFileError, match="after a line that comes later"):
        read_metrics(".", OPEN)


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_torn_line_of_a_run_that_was_cut_short_is_ignored(status):
    log_of(".", *points(1, 2))
    with open("metrics.jsonl", "ab") as stream:
        stream.write(b'{"label":"tr')
    assert len(read_metrics(".", facts_of("a", status=status))) == 2


@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_a_torn_line_of_a_run_that_ended_is_damage(status):
    log_of(".", *points(1, 2))
    with open("metrics.jsonl", "ab") as stream:
        stream.write(b'{"label":"tr')
    with pytest.raises(CorruptFileError, match="line 3 is damaged: the line has no end"):
        read_metrics(".", facts_of("a", status=status))


def test_lines_that_run_json_knows_of_must_be_there():
    log = log_of(".", *points(1, 2, 3))
    facts = facts_of("a", status="failed", metrics={"lines": 3, "crc": log.crc})
    content = Path("metrics.jsonl").read_bytes()
    Path("metrics.jsonl").write_bytes(content[:-5])
    with pytest.raises(CorruptFileError, match="ends after 2 lines, and 3 were written"):
        read_metrics(".", facts)


def test_another_run_s_values_are_noticed():
    log = log_of(".", *points(1, 2))
    facts = facts_of("a", metrics={"lines": 2, "crc": log.crc})
    Path("metrics.jsonl").unlink()
    log_of(".", *points(3, 4))
    with pytest.raises(CorruptFileError, match="written for another line"):
        read_metrics(".", facts)


def test_what_was_recorded_after_run_json_was_read_is_left_out():
    folder = make_run()
    facts = read_run(folder)
    log_of(folder, *points(9), resume_at=3)
    assert read_metrics(folder, facts) == metrics_of()


def test_a_run_that_has_just_begun_has_no_values():
    assert read_metrics(".", OPEN) == []


def test_a_missing_file_is_damage():
    with pytest.raises(CorruptFileError, match=r"metrics\.jsonl is damaged: it is missing"):
        read_metrics(".", facts_of("a"))


# Places


def test_a_file_inside_is_found_whether_it_exists_or_not():
    assert inside("a", "checkpoints/last.pt") == Path("a/checkpoints/last.pt")


def test_a_run_may_be_reached_by_a_link():
    folder = make_run()
    Path("link").symlink_to(folder)
    assert read_run("link")["name"] == "mlp-1"


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl"])
def test_a_link_that_leads_out_is_not_followed(name):
    folder = make_run()
    (folder / name).rename("elsewhere")
    (folder / name).symlink_to(Path("elsewhere").absolute())
    with pytest.raises(CorruptFileError, match=r"leads out of the run's folder, to .*elsewhere"):
        read_metrics(folder, read_run(folder))


def test_nothing_is_written_through_a_link_that_leads_out():
    Path("a").mkdir()
    Path("a/metrics.jsonl").symlink_to(Path("target").absolute())
    with pytest.raises(CorruptFileError, match="leads out"):
        MetricsLog("a")
    assert not Path("target").exists()


def test_nothing_is_written_to_another_name_of_the_file():
    Path("a").mkdir()
    log = MetricsLog("a")
    log.append(Metric("loss", 0.0, 1.0, "point"))
    log.close()
    os.link("a/metrics.jsonl", "target")
    before = Path("target").read_bytes()
    log = MetricsLog("a")
    log.append(Metric("loss", 1.0, 0.5, "point"))
    log.close()
    assert Path("target").read_bytes() == before
    assert Path("a/metrics.jsonl").read_bytes().startswith(before)
    assert Path("a/metrics.jsonl").stat().st_size > len(before)


def test_a_folder_of_links_that_leads_out_is_not_followed():
    Path("a").mkdir()
    Path("elsewhere").mkdir()
    Path("a/checkpoints").symlink_to("../elsewhere")
    with pytest.raises(CorruptFileError, match="leads out"):
        inside("a", "checkpoints/last.pt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_not_waited_for():
    Path("a").mkdir()
    os.mkfifo("a/run.json")
    with pytest.raises(CorruptFileError, match=r"run\.json is not a file"):
        read_run("a")


def test_files_are_listed_with_their_sizes_and_links_are_not_followed():
    folder = make_run()
    Path("elsewhere").mkdir()
    Path("elsewhere/secret").touch()
    (folder / "more").symlink_to(Path("elsewhere").absolute())
    sizes = files_in(folder)
    assert sizes["checkpoints/last.pt"] == len(b"content")
    assert "more" in sizes
    assert not any("secret" in name for name in sizes)


def test_the_files_of_watched_gradients_are_files_of_a_run():
    assert {"gradients.svg", "gradients.png", "gradients.json"} <= set(run_format.REPORT_FILES)
