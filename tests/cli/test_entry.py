"""The entry point: commands, exit codes, streams."""

import json
import os
import subprocess
import sys
import threading
import warnings

import pytest

import gradbook
from gradbook.cli import entry, main
from gradbook.cli.outcome import Outcome

pytestmark = pytest.mark.usefixtures("blank_figures")


def run_python(*arguments: str, **kwargs) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, **kwargs
    )


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gradbook {gradbook.__version__}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_lists_every_command(capsys, flag):
    assert main([flag]) == 0
    text = capsys.readouterr().out
    assert all(f"  {command} " in text for command in entry.COMMANDS)


def test_every_command_exists():
    names = [name.replace("-", "_") for name in entry.COMMANDS]
    modules = [entry.importlib.import_module(f"gradbook.cli.{name}") for name in names]
    assert all(callable(module.run) for module in modules)


@pytest.mark.parametrize("command", entry.COMMANDS)
def test_every_command_has_its_help(capsys, command):
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: gradbook {command}")


def test_no_command_is_bad_usage(capsys):
    assert main([]) == 2
    assert "error: Name a command.\n\nusage: gradbook COMMAND" in capsys.readouterr().err


def test_an_unknown_command_gets_a_suggestion(capsys):
    assert main(["trian"]) == 2
    assert "no command 'trian'. Did you mean 'train'?" in capsys.readouterr().err


def test_an_option_before_the_command_is_bad_usage(capsys):
    assert main(["--quiet", "train"]) == 2
    assert "Name a command before the option '--quiet'" in capsys.readouterr().err


def test_an_unknown_option_gets_a_suggestion(capsys):
    assert main(["data", "--verfy"]) == 2
    assert "no option '--verfy'. Did you mean '--verify'?" in capsys.readouterr().err


def test_an_error_is_one_json_object_too(capsys):
    assert main(["train", "mpl", "--json"]) == 2
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert (told["status"], told["exit_code"]) == ("failed", 2)
    assert told["error"].startswith("There is no model 'mpl'.")
    assert captured.err.startswith("error: There is no model 'mpl'.")


def test_help_is_text_even_when_json_is_asked_for(capsys):
    assert main(["data", "--json", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage:")


def test_without_arguments_it_takes_the_process_s_own(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gradbook", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("gradbook ")


@pytest.fixture
def command(monkeypatch):
    """Puts a function in the place of the command `data`."""

    def replace(run):
        monkeypatch.setattr("gradbook.cli.data.run", run)

    return replace


def test_what_is_printed_meanwhile_is_not_among_the_json(capsys, command):
    command(lambda _: print("meanwhile") or Outcome({"a": 1}))
    main(["data", "--json"])
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 1, "exit_code": 0}
    assert captured.err == "meanwhile\n"


@pytest.mark.filterwarnings("default")
def test_errors_and_warnings_end_their_lines_at_words(capsys, command, monkeypatch):
    def run(arguments):
        warnings.warn("one two three four five six", stacklevel=1)
        raise ValueError("one two three four five six")

    command(run)
    monkeypatch.setenv("COLUMNS", "24")
    main(["data"])
    told = capsys.readouterr().err
    assert "warning: one two three\n  four five six\n" in told
    assert "error: ValueError: one\n  two three four five\n  six\n" in told


def test_quiet_prints_no_result(capsys, command):
    command(lambda _: Outcome(text="result"))
    assert main(["data", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_quiet_does_not_keep_json_back(capsys, command):
    command(lambda _: Outcome({"a": 1}))
    main(["data", "--quiet", "--json"])
    assert json.loads(capsys.readouterr().out)["a"] == 1


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_plain_line(capsys, command):
    command(lambda _: warnings.warn("Careful.") or Outcome())
    main(["data"])
    assert capsys.readouterr().err == "warning: Careful.\n"


def failing(error: BaseException):
    def run(_):
        raise error

    return run


def test_an_unexpected_error_is_no_traceback(capsys, command):
    command(failing(RuntimeError("odd")))
    assert main(["data"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_the_traceback_is_shown_when_asked_for(capsys, command):
    command(failing(RuntimeError("odd")))
    assert main(["data", "--traceback"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_the_environment_can_ask_for_the_traceback(capsys, command, monkeypatch):
    monkeypatch.setenv("GRADBOOK_DEBUG", "1")
    command(failing(RuntimeError("odd")))
    main(["data"])
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--traceback"]])
def test_an_error_has_no_control_characters(capsys, command, options):
    command(failing(RuntimeError("odd\x1b[2J")))
    main(["data", *options])
    assert r"odd\x1b[2J" in capsys.readouterr().err


def test_a_result_has_no_control_characters(capsys, command):
    command(lambda _: Outcome(text="a\x1b[2J\nb"))
    main(["data"])
    assert capsys.readouterr().out == "a\\x1b[2J\nb\n"


def test_ctrl_c_is_told_in_a_word(capsys, command):
    command(failing(KeyboardInterrupt()))
    assert main(["data"]) == 130
    assert capsys.readouterr().err == "interrupted.\n"


def test_ctrl_c_is_a_status_of_its_own_in_json(capsys, command):
    command(failing(KeyboardInterrupt()))
    main(["data", "--json"])
    assert json.loads(capsys.readouterr().out)["status"] == "interrupted"


def test_a_program_that_ends_itself_has_failed(capsys, command):
    command(failing(SystemExit(0)))
    assert main(["data"]) == 1
    assert "sys.exit(0)" in capsys.readouterr().err


def test_it_can_be_called_from_a_thread(capsys):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.slow
def test_python_m_gradbook_is_the_command():
    done = run_python("-m", "gradbook", "--version")
    assert (done.returncode, done.stdout) == (0, f"gradbook {gradbook.__version__}\n")


@pytest.mark.slow
def test_the_exit_code_reaches_the_shell():
    assert run_python("-m", "gradbook", "trian").returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["trian"], ["train", "--help"]])
def test_what_needs_no_torch_does_not_wait_for_it(arguments):
    code = (
        "import sys; from gradbook.cli import main; "
        "main(sys.argv[1:]); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert run_python("-c", code, *arguments).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("arguments", [["--help"], ["data"], ["data", "--json"]])
def test_a_reader_that_goes_away_is_no_error(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "gradbook", *arguments],
            stdout=stream,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.slow
def test_what_the_terminal_cannot_show_is_escaped():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    code = (
        "from gradbook.cli import data, main, outcome; "
        "data.run = lambda _: outcome.Outcome(text='\\u2014'); raise SystemExit(main(['data']))"
    )
    done = run_python("-c", code, env=environment)
    assert (done.returncode, done.stdout) == (0, "\\u2014\n")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_an_output_that_is_full_is_told_in_a_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gradbook", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    told = "error: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, told)
