"""Makes the sample of Fashion-MNIST that gradbook carries, from the full set.

    python tools/make_sample.py FOLDER_WITH_THE_FOUR_FILES

The sample has 1,000 training images and 200 validation images of each of the ten classes, taken at
random with a fixed seed and kept in the order of the full set. The same input gives the same bytes.
"""

import sys
from pathlib import Path

import torch

from gradbook.datasets.fashion_mnist import FILES, SAMPLE_FOLDER
from gradbook.datasets.idx import read_idx, write_idx

SEED = 2017
NUM_PER_CLASS = {"train": 1000, "val": 200}


def main(source: Path) -> None:
    """Writes the four files of the sample from those in `source`."""
    generator = torch.Generator().manual_seed(SEED)
    for split, num_per_class in NUM_PER_CLASS.items():
        arrays = {
            file.num_dims: read_idx(
                source / f"{file.name}.gz", num_dims=file.num_dims, sha256=file.sha256
            )
            for file in FILES
            if file.split == split
        }
        chosen = []
        for label in range(10):
            members = (arrays[1] == label).nonzero().flatten()
            order = torch.randperm(len(members), generator=generator)
            chosen.append(members[order[:num_per_class]])
        indices = torch.cat(chosen).sort().values
        for file in FILES:
            if file.split == split:
                write_idx(SAMPLE_FOLDER / f"{file.name}.gz", arrays[file.num_dims][indices])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
