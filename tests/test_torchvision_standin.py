import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import gradbook
import gradbook_standin
from gradbook import torchvision_standin as standin
from gradbook.datasets import fashion_mnist, labeled_images
from gradbook.datasets.makers import drawn_images
from gradbook.errors import ConfigError

SOURCE = Path(gradbook_standin.__file__).parent


@pytest.fixture
def python(tmp_path):
    """Runs a script in a Python that starts with the hook, as it does after an installation."""
    if importlib.util.find_spec("torchvision") is not None:
        pytest.skip("the real torchvision is installed")
    (tmp_path / "sitecustomize.py").write_text(f"import site; site.addsitedir({str(SOURCE)!r})")
    assert (SOURCE / "gradbook_torchvision.pth").exists()

    def run(script, **environment):
        Path("script.py").write_text(script)
        return subprocess.run(
            [sys.executable, "script.py"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(tmp_path), **environment},
        )

    return run


@pytest.mark.slow
def test_import_before_any_other_in_a_script(python):
    done = python(
        "import torchvision\n"
        "from torchvision import transforms\n"
        "import torchvision.transforms as T\n"
        "from torchvision.datasets import FashionMNIST\n"
        "from torchvision.io.image import ImageReadMode\n"
        "import torchvision.transforms.functional\n"
        "assert torchvision.io.ImageReadMode is ImageReadMode\n"
        "assert torchvision.transforms.functional.crop\n"
        "assert T is transforms and torchvision.datasets.FashionMNIST is FashionMNIST\n"
        "for line in ('torchvision.models', 'torchvision.__version__'):\n"
        "    try:\n"
        "        eval(line)\n"
        "    except AttributeError as error:\n"
        "        assert 'pip install torchvision' in str(error)\n"
        "    else:\n"
        "        raise SystemExit(line)\n"
        "for line in ('import torchvision.models', 'from torchvision import models',\n"
        "             'from torchvision.transforms import RandomErasing'):\n"
        "    try:\n"
        "        exec(line)\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
        "    else:\n"
        "        raise SystemExit(line)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("There is no torchvision.models here") == 2
    assert done.stderr.count("this is gradbook's stand-in") == 1


@pytest.mark.slow
def test_library_is_not_fooled(python):
    Path("library.py").write_text(
        "import importlib.util\n"
        "def probe():\n"
        "    try:\n"
        "        import torchvision\n"
        "    except ImportError:\n"
        "        return False\n"
        "    return True\n"
        "found = probe() or importlib.util.find_spec('torchvision') is not None\n"
    )
    Path("second.py").write_text(Path("library.py").read_text())
    done = python(
        "import library\n"
        "assert not library.found\n"
        "import torchvision\n"
        "import second\n"
        "assert not second.found and not library.probe()\n"
        "import torchvision as again\n"
        "import sys\n"
        "finders = list(sys.meta_path)\n"
        "import xxsubtype\n"  # a builtin: the next import after the stand-in finds it as ever
        "assert sys.meta_path == finders[1:] and 'torchvision' not in sys.modules\n"
        "assert again is torchvision and again.transforms\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_real_torchvision_wins(python):
    Path("torchvision").mkdir()
    Path("torchvision/__init__.py").write_text("real = True")
    done = python("import torchvision; assert torchvision.real; import torchvision.transforms")
    assert "ModuleNotFoundError: No module named 'torchvision.transforms'" in done.stderr


@pytest.mark.slow
def test_broken_torchvision_keeps_its_error(python):
    Path("torchvision").mkdir()
    Path("torchvision/__init__.py").write_text("raise RuntimeError('operator does not exist')")
    done = python("import torchvision")
    assert "RuntimeError: operator does not exist" in done.stderr


@pytest.mark.slow
def test_environment_turns_it_off(python):
    done = python("import torchvision", GRADBOOK_NO_STANDIN="1")
    assert "ModuleNotFoundError: No module named 'torchvision'" in done.stderr


@pytest.mark.slow
def test_hook_imports_next_to_nothing(python):
    done = python("import sys; print(*[name for name in sys.modules if 'gradbook' in name])")
    assert done.stdout.split() == ["gradbook_standin"]


@pytest.mark.slow
def test_hook_is_one_line_that_outlives_its_module():
    line = (SOURCE / "gradbook_torchvision.pth").read_text()
    assert line.count("\n") == 1
    assert line.startswith("import ")  # what makes Python run it
    silent = subprocess.run(
        [sys.executable, "-S", "-c", line], check=False, capture_output=True, text=True
    )
    assert (silent.returncode, silent.stderr) == (0, "")


@pytest.fixture
def small_data(monkeypatch, tmp_path):
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", tmp_path)


@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_fashion_mnist_gives_images_and_numbers(small_data):
    data = standin.FashionMNIST(root="../data", train=False, download=True)
    image, label = data[0]
    assert isinstance(image, Image.Image)
    assert (image.size, image.mode) == ((28, 28), "L")
    assert type(label) is int
    assert label == data.targets[0]
    assert torch.equal(standin.ToTensor()(image).mul(255).round().byte()[0], data.data[0])
    assert len(data.classes) == 10
    assert len(data) == len(data.data) == len(data.targets) == 2000


@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_transforms_are_applied_and_the_data_set_can_be_sent_to_a_worker(small_data):
    trans = standin.Compose([standin.Resize((32, 30)), standin.ToTensor()])
    data = standin.FashionMNIST(train=False, transform=trans, target_transform=lambda y: -y)
    X, y = data[0]
    assert (X.shape, X.dtype, y) == ((1, 32, 30), torch.float32, -int(data.targets[0]))
    data.target_transform = None
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy[5][0], data[5][0])


@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_pixels_are_those_of_the_library(small_data):
    own = gradbook.datasets.FashionMNIST(resize=(14, 14)).val
    pillow = standin.FashionMNIST(
        train=False, transform=standin.Compose([standin.Resize(14), standin.ToTensor()])
    )
    difference = torch.stack([own[i][0] - pillow[i][0] for i in range(50)]).abs()
    assert difference.max() <= 1.01 / 255  # both round to whole gray values


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(labeled_images, "NUM_DIGITS", (20, 10))
    monkeypatch.setattr(labeled_images, "NUM_THINGS", (20, 10))
    monkeypatch.setattr(labeled_images, "_drawn_digits", labeled_images._drawn_digits.__wrapped__)
    monkeypatch.setattr(labeled_images, "_drawn_things", labeled_images._drawn_things.__wrapped__)


@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_mnist_gives_gray_images_and_numbers(few):
    data = standin.MNIST(root="./temp", train=True, transform=standin.ToTensor(), download=True)
    image, label = data[3]
    assert (image.shape, image.dtype, type(label)) == ((1, 28, 28), torch.float32, int)
    assert (data.data.shape, data.targets.dtype, len(data)) == ((20, 28, 28), torch.int64, 20)
    assert data.classes[label].startswith(f"{label} - ")


@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_cifar10_gives_colored_images_and_numbers(few):
    data = standin.CIFAR10(root="../data", train=False, download=True)
    image, label = data[0]
    assert (image.size, image.mode, type(label)) == ((32, 32), "RGB", int)
    assert (data.data.shape, type(data.targets), len(data)) == ((10, 32, 32, 3), list, 10)
    assert list(data.classes) == list(drawn_images._CIFAR10)


@pytest.mark.parametrize(
    ("size", "expected"), [((5, 7), (7, 5)), (8, (16, 8)), ([8], (16, 8)), (40, (80, 40))]
)
def test_resize(size, expected):
    assert standin.Resize(size)(Image.new("L", (20, 10))).size == expected


@pytest.mark.parametrize("size", [0, (1, 2, 3), (28, "x"), 2.5])
def test_resize_refuses_what_is_no_size(size):
    with pytest.raises((ConfigError, TypeError)):
        standin.Resize(size)


def test_to_tensor_keeps_channels():
    image = Image.new("RGB", (3, 2), (255, 0, 51))
    X = standin.ToTensor()(image)
    assert X.shape == (3, 2, 3)
    assert X[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])


def test_transform_of_something_else_says_what_it_is():
    with pytest.raises(TypeError, match=r"got Tensor.*stand-in"):
        standin.ToTensor()(torch.zeros(2))


def test_importing_gradbook_installs_the_finder_once():
    assert sys.meta_path.count(gradbook_standin.Finder) == 1
    gradbook_standin.install()
    assert sys.meta_path.count(gradbook_standin.Finder) == 1
