"""MNIST and Fashion-MNIST: find four IDX files, download what is missing, verify, map into memory.

The data folder is $MLP_DATA_DIR, or else data/ where the command is run. The files lie in its
mnist/, or where torchvision puts them, or in itself if it is called so. We map an unpacked file
(NAME) as it is. We unpack a packed one (NAME.gz) once, into the user's cache folder, and map that.
We download a missing one as NAME.gz. Each load checks the SHA-256 stated below, in about 30 ms for
the 47 MB of training images. A folder that already holds the files is only read.
"""

import gzip
import hashlib
import math
import mmap
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from mlp.errors import Unusable, UserError
from mlp.files import whole_file

NUM_CLASSES = 10
NUM_VAL = 5_000  # the last of the 60,000 training images

SHAPES = {
    "train-images": (60_000, 28, 28),
    "train-labels": (60_000,),
    "t10k-images": (10_000, 28, 28),
    "t10k-labels": (10_000,),
}


@dataclass(frozen=True)
class Source:
    """Where a data set comes from."""

    name: str  # as in dataset=NAME; its folder in the data folder has the same name
    mirrors: tuple[str, ...]  # base addresses, tried in this order
    sha256: dict[str, str]  # of each file once unpacked, so that re-compressing changes nothing
    also_in: tuple[Path, ...] = ()  # folders where a system package may have put the files
    torchvision: str = "MNIST/raw"  # its folder there


MNIST = Source(
    name="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    sha256={
        "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
)

FASHION_MNIST = Source(
    name="fashion_mnist",
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    sha256={
        "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    also_in=(Path("/usr/share/datasets/fashion-mnist"),),  # Debian's dataset-fashion-mnist
    torchvision="FashionMNIST/raw",
)


CLOTHES = (
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
)


def load_mnist(final=False):
    """Handwritten digits, as ((x, y), (x, y), 10): read-only arrays over the mapped files.

    x uint8 0..255 (n, 784); y uint8 (n,). final=False: the first 55,000 training images, then the
    last 5,000 for validation; the test files are not touched. True: all 60,000 training images,
    then the canonical 10,000 test images.
    Raises UserError when a file is damaged, or missing and not to be downloaded.
    """
    return load(MNIST, final)


def load_fashion_mnist(final=False):
    """Zalando's clothes, in the same format and sizes; everything else as for load_mnist."""
    return load(FASHION_MNIST, final)


def load(source, final):
    x, y = read(source, "train-images"), read(source, "train-labels")
    if final:
        return (x, y), (read(source, "t10k-images"), read(source, "t10k-labels")), NUM_CLASSES
    return (x[:-NUM_VAL], y[:-NUM_VAL]), (x[-NUM_VAL:], y[-NUM_VAL:]), NUM_CLASSES


@dataclass(frozen=True)
class IdxFile:
    """An IDX file of unsigned bytes, as it must be once unpacked."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self):
        """Magic number (two zeros, 8 for unsigned byte, number of dimensions), then each size."""
        return struct.pack(f">{1 + len(self.shape)}I", 0x800 + len(self.shape), *self.shape)

    @property
    def size(self):
        return len(self.header) + math.prod(self.shape)


def read(source, part):
    shape = SHAPES[part]
    file = IdxFile(f"{part}-idx{len(shape)}-ubyte", shape, source.sha256[part])
    array = np.frombuffer(find(source, file), np.uint8, offset=len(file.header))
    return array.reshape(shape[0], -1) if len(shape) > 1 else array


def find(source, file):
    """The file's content from the first place that has it, downloaded when none has.

    A file that is there but damaged is an error: passing it over would hide the damage, and
    downloading over it would destroy something of the user's.
    """
    given, own = os.environ.get("MLP_DATA_DIR"), (source.name, source.torchvision)
    data = Path(os.path.expanduser(given or "data"))
    if given and not data.is_dir():
        raise UserError(f"MLP_DATA_DIR={given} is no folder: make it, or correct the variable")
    folders = [data / name for name in own] + [data for name in own if data.resolve().match(name)]
    names = file.name, file.name.replace("-idx", ".idx")  # both are in use
    for folder in (*folders, *source.also_in):
        for path in (folder / f"{name}{ending}" for name in names for ending in ("", ".gz")):
            packed = path.suffix == ".gz"
            try:
                return unpacked(path.read_bytes(), file) if packed else mapped(path, file)
            except FileNotFoundError:
                continue
            except (OSError, Unusable) as error:
                reason = getattr(error, "strerror", error)
                raise UserError(
                    f"dataset={source.name}: {path} can't be used: {reason}; "
                    "replace it, or remove it to have it downloaded again"
                ) from error
    return downloaded(source, file, folders[0])


def downloaded(source, file, folder):
    """The content from the first mirror that has it whole; NAME.gz is kept in the folder."""
    from mlp.download import download  # the modules behind it take 10 ms, and few runs need them

    path = folder / f"{file.name}.gz"
    failures = []
    for mirror in source.mirrors:
        try:
            with whole_file(path) as output:
                packed = download(mirror + path.name, most=file.size + file.size // 100 + 1024)
                content = unpacked(packed, file)
                output.write(packed)
            return content
        except Unusable as error:
            failures.append(f"{urlsplit(mirror).netloc}: {error}")
        except OSError as error:
            failures.append(f"can't write there: {error.strerror}")
    raise UserError(
        f"dataset={source.name}: {path.name} is not in {folder} and could not be downloaded "
        f"({'; '.join(dict.fromkeys(failures))}); put the four files there or set MLP_DATA_DIR"
    )


def unpacked(packed, file):
    """The verified content of gzip data: mapped from the cache, or unpacked and put there.

    The cache file is named by the SHA-256 of the packed bytes, so that a damaged NAME.gz is found
    out whatever was cached before, and verified like any other file. Where the cache can't be
    written, the content lives in memory.
    """
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cached = Path(caches) / "mlp-numpy" / hashlib.sha256(packed).hexdigest()
    with suppress(OSError, Unusable):
        return mapped(cached, file)
    try:
        with gzip.open(BytesIO(packed)) as stream:
            content = stream.read(file.size + 1)  # enough to see that it is too long
    except EOFError as error:
        raise Unusable("cut short") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        is_page = packed[:100].lstrip().startswith(b"<")
        raise Unusable("a web page, not data" if is_page else "not valid gzip data") from error
    verify(content, file)
    if cached.is_absolute():  # without a home "~" stays
        with suppress(OSError), whole_file(cached) as output:
            output.write(content)
    return content


def mapped(path, file):
    """The verified content of an unpacked file, mapped: its pages are shared between processes."""
    with path.open("rb") as opened:
        empty = os.fstat(opened.fileno()).st_size == 0  # which mmap refuses
        content = b"" if empty else mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    verify(content, file)
    return content


def verify(content, file):
    if len(content) != file.size:
        relation = "longer" if len(content) > file.size else "shorter"
        raise Unusable(f"{relation} than the {file.size:,} bytes of {file.name}")
    header = content[: len(file.header)]
    if header != file.header:
        raise Unusable(f"IDX header is {header.hex(' ', 4)}, must be {file.header.hex(' ', 4)}")
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != file.sha256:
        raise Unusable(f"wrong content: SHA-256 is {sha256}, must be {file.sha256}")
