import hashlib
import io
import os
import socket
import stat
import subprocess
import sys
import threading
import types
import zipfile
from pathlib import Path

import pytest
import requests
from tests.patience import LONGEST

from gradbook.datasets import files
from gradbook.errors import ConfigError, DataError, DownloadError

CONTENT = bytes(range(256)) * 2000


def sha1(content):
    return hashlib.sha1(content).hexdigest()


def partial_files(folder):
    return [path for path in folder.iterdir() if path.name.endswith(".part")]


@pytest.fixture
def hub(monkeypatch, server):
    server.files["/data.csv"] = CONTENT
    hub = {"data": (server.url + "data.csv", sha1(CONTENT))}
    monkeypatch.setattr(files, "DATA_HUB", hub)
    return hub


# download -----------------------------------------------------------------------------------------


def test_download_by_name_gives_the_path_of_the_file(hub, folder):
    path = files.download("data", folder / "new")
    assert path == str(folder / "new" / "data.csv")
    assert Path(path).read_bytes() == CONTENT


def test_download_by_url_needs_no_checksum(server, folder):
    server.files["/a%20b.txt?x=1"] = b"hello"
    path = files.download(server.url + "a%20b.txt?x=1", folder)
    assert path == str(folder / "a b.txt")
    assert Path(path).read_bytes() == b"hello"


def test_a_file_that_is_there_is_not_fetched_again(hub, server, folder):
    files.download("data", folder)
    files.download("data", folder)
    assert len(server.requested) == 1


def test_a_file_with_the_wrong_checksum_is_fetched_again(hub, folder):
    (folder / "data.csv").write_bytes(b"half")
    assert Path(files.download("data", folder)).read_bytes() == CONTENT


def test_a_wrong_checksum_names_the_file_and_both_sums_and_leaves_nothing(server, folder):
    server.files["/x.bin"] = b"other"
    with pytest.raises(DownloadError) as error:
        files.download(server.url + "x.bin", folder, sha1_hash="0" * 40)
    for part in (str(folder / "x.bin"), "0" * 40, sha1(b"other")):
        assert part in str(error.value)
    assert list(folder.iterdir()) == []


def test_checksums_may_be_written_in_capitals(server, folder):
    server.files["/x.bin"] = b"x"
    files.download(server.url + "x.bin", folder, sha1_hash=sha1(b"x").upper())


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ConfigError, match="Did you mean 'kaggle_house_train'"):
        files.download("kaggle_house_trian")


@pytest.mark.parametrize(
    "url", ["ftp://host/file", "http://host/", "http://host/a/..", "file:///etc/passwd"]
)
def test_what_has_no_file_name_or_is_not_http_is_refused(url, folder):
    with pytest.raises(ConfigError, match="must begin with http"):
        files.download(url, folder)


@pytest.mark.parametrize(
    "url", ["http://[::1/f.txt", "http://host/a%00b", f"http://host/{'a' * 256}", "http://h/\ud800"]
)
def test_urls_that_name_no_possible_file_are_refused(url, folder):
    with pytest.raises(ConfigError, match="cannot be downloaded"):
        files.download(url, folder)


@pytest.mark.parametrize("url", [None, Path("data.csv"), b"http://host/x"])
def test_a_url_is_text(url):
    with pytest.raises(ConfigError, match="url must be"):
        files.download(url)


@pytest.mark.parametrize("sha1_hash", [5, b"0" * 40, "0" * 39, "x" * 40])
def test_a_checksum_that_is_none_is_refused(sha1_hash, folder):
    with pytest.raises(ConfigError, match="sha1_hash"):
        files.download("http://host/x", folder, sha1_hash)


def test_the_scheme_may_be_in_capitals_and_the_name_long(server, folder):
    name = "a" * 255
    server.files[f"/{name}"] = b"x"
    url = server.url.replace("http", "HTTP") + name
    assert Path(files.download(url, folder)).read_bytes() == b"x"


def test_an_empty_answer_is_refused(server, folder):
    server.files["/x"] = b""
    server.status["/x"] = 204
    with pytest.raises(DownloadError, match="empty file"):
        files.download(server.url + "x", folder)
    assert list(folder.iterdir()) == []


def test_a_url_cannot_choose_another_folder(server, folder):
    server.files["/..%2F..%2Fevil.txt"] = b"x"
    path = files.download(server.url + "..%2F..%2Fevil.txt", folder / "in")
    assert path == str(folder / "in" / "evil.txt")


def test_every_entry_of_the_hub_has_a_url_and_a_checksum():
    for url, checksum in files.DATA_HUB.values():
        assert url.startswith(("http://", "https://"))
        assert len(bytes.fromhex(checksum)) == 20


def test_offline_says_so_without_asking(hub, server, folder, monkeypatch):
    monkeypatch.setenv("GRADBOOK_OFFLINE", "1")
    with pytest.raises(DownloadError, match="GRADBOOK_OFFLINE"):
        files.download("data", folder)
    assert server.requested == []


def test_outside_a_terminal_a_download_prints_one_line(hub, folder, capsys):
    files.download("data", folder)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Downloading data.csv from 127.0.0.1")
    assert err.count("\n") == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_a_bar_is_drawn(hub, folder, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    files.download("data", folder)
    assert "data.csv from 127.0.0.1" in terminal.getvalue()
    assert "512.0/512.0 kB" in terminal.getvalue()


def test_of_a_download_that_fails_no_bar_stays(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(OSError, match="gone"), files._progress("data.csv from a host"):
        raise OSError("gone")
    last_frame = terminal.getvalue().rpartition("\x1b[2K")[2]
    assert "data.csv" in terminal.getvalue()
    assert "data.csv" not in last_frame


# fetch --------------------------------------------------------------------------------------------


def test_a_transfer_that_breaks_off_is_begun_again(server, folder):
    server.files["/x.bin"] = CONTENT
    server.break_off = [70_000, 100]
    path = files.fetch([server.url + "x.bin"], folder / "x.bin")
    assert path.read_bytes() == CONTENT
    assert len(server.requested) == 3
    assert partial_files(folder) == []


def test_a_transfer_that_always_breaks_off_is_given_up(server, folder):
    server.files["/x.bin"] = CONTENT
    server.break_off = [70_000] * 9
    with pytest.raises(DownloadError, match=r"broke off .* \(3 times\)"):
        files.fetch([server.url + "x.bin"], folder / "x.bin")
    assert list(folder.iterdir()) == []


def test_the_next_mirror_is_asked(server, folder):
    server.files["/good"] = CONTENT
    urls = [server.url + "absent", server.url + "good"]
    assert files.fetch(urls, folder / "x").read_bytes() == CONTENT


def test_when_all_mirrors_fail_each_is_listed_with_its_reason(server, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    server.status["/sick"] = 503
    urls = [server.url + "absent", server.url + "sick", closed]
    with pytest.raises(DownloadError) as error:
        files.fetch(urls, folder / "x")
    lines = str(error.value).splitlines()
    assert lines[1].endswith("absent: HTTP 404 Not Found")
    assert lines[2].endswith("sick: HTTP 503 Service Unavailable")
    assert lines[3] == f"  {closed}: the connection was refused"
    assert len(lines) == 4


def test_a_reason_that_all_mirrors_share_is_told_once(server, folder):
    with pytest.raises(DownloadError) as error:
        files.fetch([server.url + "a", server.url + "b"], folder / "x")
    assert str(error.value).count("HTTP 404") == 1
    assert str(error.value).count("\n") == 0


def test_a_host_that_cannot_be_resolved_is_told_in_words(server, folder, monkeypatch):
    def no_answer(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_answer)
    with pytest.raises(DownloadError, match=r"could not be resolved; is there a network\?"):
        files.fetch(["http://mirror.invalid/x"], folder / "x")


def test_a_host_that_was_silent_is_not_asked_again_at_once(folder, monkeypatch):
    asked, now = [], [0.0]

    def get(url, **options):
        asked.append(url)
        now[0] += 3
        raise requests.exceptions.ConnectTimeout

    monkeypatch.delenv("GRADBOOK_OFFLINE")
    monkeypatch.setattr(requests, "get", get)
    monkeypatch.setattr(files, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    for name, num_asked in (("a", 1), ("b", 1), ("c", 2)):
        with pytest.raises(DownloadError, match="no connection within"):
            files.download(f"http://host/{name}", folder)
        assert len(asked) == num_asked
        if name == "b":
            now[0] += files.PATIENCE_SECONDS


def test_a_silent_server_is_given_up_soon(folder, monkeypatch):
    monkeypatch.delenv("GRADBOOK_OFFLINE")
    monkeypatch.setattr(files, "TIMEOUT_SECONDS", (LONGEST, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(DownloadError, match=r"no answer within 0\.2 s"):
            files.fetch([url], folder / "x")


def test_a_folder_that_cannot_be_made_is_named(server, folder):
    (folder / "file").write_text("")
    with pytest.raises(DownloadError, match=r"cannot be written to the folder .*file"):
        files.fetch([server.url + "x"], folder / "file" / "x")


def test_a_disk_that_cannot_be_written_is_no_fault_of_the_network(server, folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    server.files["/x"] = b"x"
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DownloadError, match="No space left on device"):
        files.fetch([server.url + "x"], folder / "x")
    assert list(folder.iterdir()) == []


def test_others_may_read_what_was_fetched(server, folder):
    server.files["/x"] = b"x"
    path = files.fetch([server.url + "x"], folder / "x")
    (folder / "plain").write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((folder / "plain").stat().st_mode)


@pytest.mark.slow
def test_two_processes_at_once_do_not_spoil_the_file(server, folder):
    server.files["/x.bin"] = CONTENT
    server.together = threading.Barrier(2)  # both are half-way before either ends
    code = (
        "import sys; from gradbook.datasets import files;"
        f"files.TIMEOUT_SECONDS = ({LONGEST}, {LONGEST});"  # one may begin long after the other
        "print(len(open(files.download(*sys.argv[1:]), 'rb').read()))"
    )
    command = [sys.executable, "-c", code, server.url + "x.bin", str(folder), sha1(CONTENT)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        out, err = process.communicate(timeout=LONGEST)
        assert process.returncode == 0, err
        assert int(out) == len(CONTENT)
    assert len(server.requested) == 2
    assert [path.name for path in folder.iterdir()] == ["x.bin"]


# download_extract ---------------------------------------------------------------------------------


@pytest.fixture
def archive(server, folder, monkeypatch):
    with zipfile.ZipFile(folder / "made.zip", "w") as made:
        made.writestr("houses/a.csv", b"1")
        made.writestr("other/b.csv", b"2")
    content = (folder / "made.zip").read_bytes()
    server.files["/houses.zip"] = content
    monkeypatch.setattr(files, "DATA_HUB", {"houses": (server.url + "houses.zip", sha1(content))})
    (folder / "work").mkdir()
    monkeypatch.chdir(folder / "work")


def test_download_extract_gives_the_folder_named_like_the_archive(archive):
    path = files.download_extract("houses")
    assert path == os.path.join("..", "data", "houses")
    assert Path(path, "a.csv").read_bytes() == b"1"


def test_download_extract_gives_the_folder_that_is_named(archive):
    assert Path(files.download_extract("houses", "other"), "b.csv").read_bytes() == b"2"


def test_download_extract_says_when_the_folder_is_not_there(archive):
    with pytest.raises(DataError, match=r"no 'absent' in it.*houses"):
        files.download_extract("houses", "absent")
