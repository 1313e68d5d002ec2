"""What a command says."""

import io
import json
import math
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from gradbook.cli import outcome
from gradbook.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("blank_figures")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(value: object, stream: io.StringIO) -> str:
    outcome.print_json({"value": value}, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "as_json"),
    [
        (math.nan, None),
        (math.inf, None),
        ([1.5, -math.inf], [1.5, None]),
        ((1, "a", None, True), [1, "a", None, True]),
        ({"a": {"b": math.nan}}, {"a": {"b": None}}),
        (torch.tensor([1.0, math.nan]), [1.0, None]),
        (Path("a/b"), str(Path("a/b"))),
    ],
)
def test_every_value_becomes_valid_json(value, as_json):
    assert json.loads(printed(value, io.StringIO())) == {"value": as_json}


def test_json_is_one_line_for_a_program():
    assert printed([1, 2], io.StringIO()) == '{"value": [1, 2]}\n'


def test_json_is_indented_for_a_person():
    assert printed(1, Terminal()) == '{\n  "value": 1\n}\n'


@pytest.mark.filterwarnings("default")
def test_a_warning_has_no_control_characters(capsys):
    with outcome.plain_warnings(quiet=False):
        warnings.warn("first\x1b\nsecond\x07")
    assert capsys.readouterr().err == "warning: first\\x1b\n  second\\x07\n"


@pytest.mark.filterwarnings("default")
def test_a_warning_keeps_its_lines(capsys):
    with outcome.plain_warnings(quiet=False):
        warnings.warn("first\nsecond\n  and third line")
    assert capsys.readouterr().err == "warning: first\n  second\n    and third line\n"


@pytest.mark.filterwarnings("default")
def test_a_warning_is_not_shown_when_quiet(capsys):
    with outcome.plain_warnings(quiet=True):
        warnings.warn("anything")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("x"), 1),
        (RuntimeError("x"), 1),
        (ConfigError("x"), 2),
        (outcome.UsageError("x"), 2),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
        (outcome.Terminated(), 143),
        (outcome.Terminated(1), 129),
        (SystemExit(0), 1),
    ],
)
def test_every_error_has_its_exit_code(error, code):
    assert outcome.exit_code(error) == code


def caught(code: str, name: str = "theirs.py") -> BaseException:
    path = Path(name)
    path.write_text(code, encoding="utf-8")
    try:
        exec(compile(code, str(path.resolve()), "exec"), {})
    except BaseException as error:
        return error
    raise AssertionError("it was to fail")


def test_an_error_of_a_learner_s_is_shown_with_their_lines():
    text = outcome.describe(caught("def f():\n    return 1 / 0\nf()\n"))
    assert text.splitlines()[:2] == ["ZeroDivisionError: division by zero", "In your code:"]
    assert 'theirs.py", line 2, in f\n    return 1 / 0' in text


def test_the_lines_of_libraries_are_left_out():
    text = outcome.describe(caught("import json\njson.loads('x')\n"))
    assert "theirs.py" in text
    assert "decoder.py" not in text


def test_an_error_of_ours_is_its_message_and_the_learner_s_line():
    text = outcome.describe(
        caught("from gradbook.errors import DataError\nraise DataError('Empty.')")
    )
    first, second = text.splitlines()
    assert first == "Empty."
    assert second.endswith("theirs.py, line 2, in <module>")


def test_an_error_of_ours_without_their_code_is_its_message():
    assert outcome.describe(DataError("Empty.")) == "Empty."


def test_a_syntax_error_shows_the_line():
    text = outcome.describe(caught("x = 1\ny = 1 +\n"))
    assert "not valid Python" in text
    assert 'theirs.py", line 2\n    y = 1 +' in text


def test_an_operating_system_s_error_names_the_file():
    error = PermissionError(13, "Permission denied", "runs")
    assert outcome.describe(error) == "Permission denied: runs"


def test_any_other_error_says_how_to_see_more():
    text = outcome.describe(RuntimeError("odd"))
    assert text == "RuntimeError: odd\nRun it again with --traceback to see where."


def test_a_missing_library_is_told_with_its_line():
    text = outcome.describe(caught("import no_such_library\n"))
    assert "Install 'no_such_library' for this Python" in text
    assert "import no_such_library" in text


def test_a_missing_torchvision_is_to_come_from_torch_s_index():
    error = ModuleNotFoundError("No module named 'torchvision'", name="torchvision.transforms")
    assert "Install 'torchvision' from the same index as torch" in outcome.describe(error)


def test_a_torchvision_that_does_not_fit_is_explained():
    error = RuntimeError("operator torchvision::nms does not exist")
    assert "was built for another torch" in outcome.describe(error)


def test_a_program_that_ends_itself_is_told():
    assert "sys.exit(3)" in outcome.describe(SystemExit(3))


@pytest.mark.parametrize(
    ("arguments", "value", "wanted"),
    [(["--traceback"], None, True), ([], "1", True), ([], "0", False), ([], None, False)],
)
def test_whole_tracebacks_can_be_asked_for(monkeypatch, arguments, value, wanted):
    if value is not None:
        monkeypatch.setenv("GRADBOOK_DEBUG", value)
    assert outcome.wants_traceback(arguments) is wanted


@pytest.mark.slow
def test_it_needs_no_torch():
    code = "import sys, gradbook.cli.outcome as r; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_termination_leads_to_is_termination():
    worker = RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. ")
    assert outcome.exit_code(outcome.ending(worker)) == 143
    later = OSError("the terminal has gone")
    later.__context__ = outcome.Terminated(1)
    assert outcome.exit_code(outcome.ending(later)) == 129
    assert outcome.ending(worker.__class__("odd")).args == ("odd",)


@pytest.mark.parametrize("base", [RuntimeError, ConfigError])
def test_an_error_that_cannot_be_worded_is_told(base):
    class Mute(base):
        def __str__(self):
            raise ValueError

    assert isinstance(outcome.describe(outcome.ending(Mute())), str)


CPP = (
    "empty(): argument 'size' failed to unpack the object at pos 1 with error \"Overflow when "
    "unpacking long long\nException raised from THPUtils_unpackLong at /torch/python_numbers.h:79 "
    "(most recent call first):\nframe #0: c10::Error::Error(std::string) + 0x4 (0x7f in a.so)\n"
)


def test_calls_in_c_plus_plus_are_never_shown():
    assert outcome.describe(TypeError(CPP)).splitlines()[0] == (
        "TypeError: empty(): argument 'size' failed to unpack the object at pos 1 with error "
        '"Overflow when unpacking long long"'
    )


def test_a_learner_s_error_keeps_its_first_line():
    text = outcome.describe(caught("raise ValueError('first\\nframe #3: a video')\n"))
    assert text.startswith("ValueError: first\nframe #3: a video\nIn your code:\n")


def test_a_number_that_is_too_large_is_named_with_its_option():
    words = ["train", "mlp", "--num-hiddens", "8,9999999999", "--lr=0.1", "--seed", "99999999999"]
    assert outcome.describe(TypeError(CPP), words).startswith(
        "A number is too large. That may be --num-hiddens 8,9999999999: choose a smaller one.\n"
    )


def test_an_overflow_that_no_option_explains_is_left_as_it_is():
    error = OverflowError("int too large to convert to float")
    assert outcome.describe(error, ["train", "mlp", "--batch-size", "9999"]).startswith(
        "OverflowError: int too large to convert to float\n"
    )


@pytest.mark.parametrize(
    ("error", "size"),
    [
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 1599999999984 bytes. Error code 12"
            ),
            " for a tensor of 1,600.0 GB",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 5 GiB."), ""),
        (MemoryError(), ""),
    ],
)
@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (
            ["--num-hiddens=99999999999"],
            "The largest number in this command is --num-hiddens 99999999999: choose a smaller one",
        ),
        (["--lr", "0.1"], "Choose smaller sizes, or a smaller batch"),
    ],
)
def test_a_lack_of_memory_is_told_with_what_needs_it(error, size, words, advice):
    text = outcome.describe(error, ["train", "mlp", *words])
    assert text.splitlines()[0] == f"There is not enough memory{size}. {advice}."
