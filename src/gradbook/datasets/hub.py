"""The book's files: their names, where they are to be had, and where fetched ones are kept.

Book: 5.7 (sec_kaggle_house).
"""

import os
import tempfile
from pathlib import Path

DATA_URL = "http://d2l-data.s3-accelerate.amazonaws.com/"

_FILES = """
airfoil            76e5be1548fd8222e5074cf0faae75edff8cf93f  airfoil_self_noise.dat
aclImdb            01ada507287d82875905620988597833ad4e0903  http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz
banana-detection   5de26c8fce5ccdea9f91267273464dc968d20d72  banana-detection.zip
bert.base          225d66f04cae318b841a13d32af3acc165f253ac  bert.base.torch.zip
bert.small         c72329e68a732bef0452e4b96a1c341c8910f81f  bert.small.torch.zip
cifar10_tiny       2068874e4b9a9f0fb07ebe0ad2b29754449ccacd  kaggle_cifar10_tiny.zip
dog_tiny           0cb91d09b814ecdc07b50f31f8dcad3e81d6a86d  kaggle_dog_tiny.zip
fra-eng            94646ad1522d915e7b0f9296181140edcf86a4f5  fra-eng.zip
glove.6b.50d       0b8703943ccdb6eb788e6f091b8946e82231bc4d  glove.6B.50d.zip
glove.6b.100d      cd43bfb07e44e6f27cbcc7bc9ae3d80284fdaf5a  glove.6B.100d.zip
glove.42b.300d     b5116e234e9eb9076672cfeabf5469f3eec904fa  glove.42B.300d.zip
hotdog             fba480ffa8aa7e0febbb511d181409f899b9baa5  hotdog.zip
kaggle_house_test  fa19780a7b011d9b009e8bff8e99922a8ee2eb90  kaggle_house_pred_test.csv
kaggle_house_train 585e9cc93e70b39160e7921475f9bcd7d31219ce  kaggle_house_pred_train.csv
pokemon            c065c0e2593b8b161a2d7873e42418bf6a21106c  pokemon.zip
ptb                319d85e578af0cdc590547f26231e4e31cdf1e42  ptb.zip
SNLI               9fcde07509c7e87ec61c640c1b2753d9041758e4  https://nlp.stanford.edu/projects/snli/snli_1.0.zip
time_machine       090b5e7e70c295757f55df93cb0a180b9691891a  timemachine.txt
voc2012            4e443f8a2eca6b1dac8a6c57641b67dd40621a49  VOCtrainval_11-May-2012.tar
wiki.en            c1816da3821ae9f43899be655002f6c723e91b88  wiki.en.zip
wikitext-2         3c914d17d80b1459be871a5039ac23e752a53cbe  https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip
"""

#: The book's files by name: the URL and the SHA-1 checksum of each.
BOOKS_FILES: dict[str, tuple[str, str]] = {
    name: (file if "://" in file else DATA_URL + file, checksum)
    for name, checksum, file in map(str.split, _FILES.strip().splitlines())
}
#: The same; code may add files of its own, and change these.
DATA_HUB = dict(BOOKS_FILES)


def cache_folder() -> Path:
    """The folder for what is fetched or made: `GRADBOOK_CACHE`, or one in the user's cache."""
    own = os.environ.get("GRADBOOK_CACHE")
    if own:
        return Path(own)
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("gradbook")).expanduser()
    except RuntimeError:  # no home directory is known
        return Path(tempfile.gettempdir()) / "gradbook"


def is_offline() -> bool:
    """Whether the environment variable GRADBOOK_OFFLINE forbids downloads."""
    return os.environ.get("GRADBOOK_OFFLINE", "0") not in ("", "0")
