"""What chapter 14 uses of torchvision: against plain slices, Pillow, and torchvision if it is here.

The comparison with torchvision itself runs wherever that is installed.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from gradbook import torchvision_parts as parts
from gradbook.errors import ConfigError, DataError


@pytest.fixture
def image():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def pixels(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


TRANSFORMS = {
    "RandomHorizontalFlip": {},
    "RandomVerticalFlip": {"p": 0.7},
    "CenterCrop": {"size": (21, 18)},
    "RandomCrop": {"size": 20},
    "RandomResizedCrop": {"size": (20, 25), "scale": (0.1, 1), "ratio": (0.5, 2)},
    "ColorJitter": {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.5},
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_are_torchvisions(image, name):
    torchvision = pytest.importorskip("torchvision")
    ours, theirs = (
        getattr(place, name)(**TRANSFORMS[name]) for place in (parts, torchvision.transforms)
    )
    for seed in range(20):
        torch.manual_seed(seed)
        expected = pixels(theirs(image))
        torch.manual_seed(seed)
        assert pixels(ours(image)).equal(expected), seed


@pytest.mark.parametrize("name", ["RandomHorizontalFlip", "RandomVerticalFlip"])
def test_a_flip_happens_with_its_probability(image, name):
    always, never = getattr(parts, name)(p=1), getattr(parts, name)(p=0)
    dim = -1 if name == "RandomHorizontalFlip" else -2
    assert pixels(always(image)).equal(pixels(image).flip(dim))
    assert always(pixels(image)).equal(pixels(image).flip(dim))
    assert never(image) is image
    assert len({pixels(getattr(parts, name)()(image)).sum(0)[0, 0].item() for _ in range(20)}) == 2


def test_a_crop_of_a_tensor_is_that_of_the_image(image):
    for place in [(2, 3, 10, 12), (-5, -4, 20, 60), (25, 35, 10, 10)]:
        assert parts.crop(pixels(image), *place).equal(pixels(parts.crop(image, *place)))


def test_the_middle_is_cut_out(image):
    assert pixels(parts.CenterCrop(10)(image)).equal(pixels(image)[:, 10:20, 15:25])


def test_random_crops_reach_every_place(image):
    whole = torch.arange(30 * 40).reshape(1, 30, 40)
    places = {parts.RandomCrop((29, 38))(whole)[0, 0, 0].item() for _ in range(100)}
    assert places == {0, 1, 2, 40, 41, 42}
    assert parts.RandomCrop.get_params(image, (30, 40)) == (0, 0, 30, 40)
    with pytest.raises(ValueError, match="larger than the image of 30 x 40"):
        parts.RandomCrop((31, 40))(image)


def test_resized_crops_have_the_size_that_was_asked_for(image):
    assert parts.RandomResizedCrop((12, 17))(image).size == (17, 12)
    for _ in range(20):
        _, _, height, width = parts.RandomResizedCrop.get_params(image, (0.2, 0.3), (0.9, 1.1))
        assert 0.15 < height * width / 1200 < 0.35
        assert 0.8 < width / height < 1.25
    # No such part exists: as much of the middle as the ratio allows.
    assert parts.RandomResizedCrop.get_params(image, (1, 1), (1, 1)) == (0, 5, 30, 30)


def test_colors_that_may_not_change_stay(image):
    assert parts.ColorJitter()(image) is image
    brighter = parts.ColorJitter(brightness=(2.0, 2.0))(image)
    assert pixels(brighter).equal((pixels(image).int() * 2).clamp(max=255).to(torch.uint8))
    turned = parts.ColorJitter(hue=(1 / 3, 1 / 3))(Image.new("RGB", (1, 1), (255, 0, 0)))
    assert pixels(turned).flatten().tolist() == [0, 255, 0]
    with pytest.raises(ValueError, match="hue from -1 to 1 is no range"):
        parts.ColorJitter(hue=1)


def test_normalizing_takes_off_the_mean_and_divides_by_the_deviation():
    X = torch.rand(3, 4, 5)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    expected = (X - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(parts.Normalize(mean.tolist(), std.tolist())(X), expected)
    with pytest.raises(TypeError, match="takes a tensor of floats"):
        parts.Normalize([0], [1])(torch.zeros(1, 2, 2, dtype=torch.uint8))


def test_a_folder_of_folders_is_a_data_set(tmp_path, image):
    root = tmp_path / "images"
    for name in ("dog/1.png", "cat/b.jpg", "cat/a.PNG"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
    (root / "cat" / "note.txt").write_text("no image")
    data = parts.ImageFolder(root, transform=np.array, target_transform=str)
    assert data.classes == ["cat", "dog"]
    assert data.class_to_idx == {"cat": 0, "dog": 1}
    assert data.targets == [0, 0, 1]
    assert [path.rpartition("/")[2] for path, _ in data.imgs] == ["a.PNG", "b.jpg", "1.png"]
    assert (data[2][0].shape, data[2][1]) == ((30, 40, 3), "1")
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="no folder with images"):
        parts.ImageFolder(root / "empty")


def test_images_are_read_in_color_if_asked(tmp_path):
    Image.new("L", (3, 2), 7).save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    assert parts.read_image(path).shape == (1, 2, 3)
    assert parts.read_image(path, parts.ImageReadMode.RGB).shape == (3, 2, 3)


def test_sizes_that_are_none_are_refused():
    with pytest.raises(ConfigError, match="size must be a number or"):
        parts.CenterCrop((1, 2, 3))


def test_roi_pooling_gives_the_largest_value_of_each_part():
    X = torch.arange(32.0).reshape(1, 2, 4, 4)
    boxes = torch.tensor([[0, 0, 0, 20, 20], [0, 0, 10, 30, 30]])
    pooled = parts.roi_pool(X, boxes.float(), output_size=(2, 2), spatial_scale=0.1)
    assert pooled[:, 0].tolist() == [[[5, 6], [9, 10]], [[9, 11], [13, 15]]]
    assert pooled[:, 1].equal(pooled[:, 0] + 16)


def test_roi_pooling_takes_boxes_by_example_and_one_number_as_the_size():
    X = torch.arange(32.0).reshape(2, 1, 4, 4)
    pooled = parts.roi_pool(X, [torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[2.0, 2, 3, 3]])], 1)
    assert pooled.flatten().tolist() == [5, 31]


def test_roi_pooling_is_0_where_a_part_lies_beyond_the_map_and_has_gradients():
    X = torch.ones(1, 1, 2, 2, requires_grad=True)
    pooled = parts.roi_pool(X, torch.tensor([[0.0, 1, 0, 4, 0]]), (1, 4))
    pooled.sum().backward()
    assert pooled.flatten().tolist() == [1, 0, 0, 0]
    assert X.grad.tolist() == [[[[0, 1], [0, 0]]]]


def test_roi_pooling_refuses_boxes_of_another_form():
    with pytest.raises(ConfigError, match=r"boxes must be .* not of shape \(3, 4\)"):
        parts.roi_pool(torch.zeros(1, 1, 4, 4), torch.zeros(3, 4), 2)


def test_roi_pooling_is_torchvisions():
    torchvision = pytest.importorskip("torchvision")
    for size, scale in (((2, 2), 0.1), ((3, 4), 0.05), (1, 0.25)):
        X = torch.randn(2, 3, 7, 9)
        boxes = torch.cat([torch.tensor([[0.0], [1]]), 140 * torch.rand(2, 4) - 20], 1)
        ours = parts.roi_pool(X, boxes, size, scale)
        assert ours.equal(torchvision.ops.roi_pool(X, boxes, size, scale))
