"""Loading MNIST: small made-up IDX files, a server on 127.0.0.1 with every fault that a mirror or a
folder can have, and the real files where MLP_DATA_DIR says they are."""

import errno
import gzip
import hashlib
import mmap
import multiprocessing
import os
import socket
import struct
import threading
import tracemalloc
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mlp import download, mnist
from mlp.errors import UserError

SHAPES = {
    "train-images": (12, 2, 3),
    "train-labels": (12,),
    "t10k-images": (4, 2, 3),
    "t10k-labels": (4,),
}
NUM_VAL = 5
RNG = np.random.default_rng(0)
ARRAYS = {part: RNG.integers(0, 256, shape, np.uint8) for part, shape in SHAPES.items()}
CONTENT = {
    f"{part}-idx{array.ndim}-ubyte": struct.pack(
        f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape
    )
    + array.tobytes()
    for part, array in ARRAYS.items()
}
PACKED = {f"{name}.gz": gzip.compress(content) for name, content in CONTENT.items()}
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = CONTENT
TRAIN_PACKED = [f"{IMAGES}.gz", f"{LABELS}.gz"]


def tiny_source(*mirrors, name="mnist", also_in=()):
    sha256 = {
        part: hashlib.sha256(content).hexdigest()
        for part, content in zip(SHAPES, CONTENT.values(), strict=True)
    }
    return mnist.Source(name, mirrors, sha256, also_in)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The tiny data set's data folder, not made yet; no mirrors, an empty cache."""
    monkeypatch.setattr(mnist, "SHAPES", SHAPES)
    monkeypatch.setattr(mnist, "NUM_VAL", NUM_VAL)
    monkeypatch.setattr(mnist, "MNIST", tiny_source())
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("MLP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "data" / "mnist"


@pytest.fixture
def cache(folder):
    return folder.parents[1] / "cache" / "mlp-numpy"


@pytest.fixture
def use_mirrors(monkeypatch):
    return lambda *urls: monkeypatch.setattr(mnist, "MNIST", tiny_source(*urls))


class Mirror:
    """A server of files; `answer` is called with a request's handler and the file's name."""

    def __init__(self):
        self.answer = send_good
        self.asked = []
        self.closing = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.closing = mirror.closing
                mirror.asked.append(self.path.removeprefix("/"))
                with suppress(ConnectionError):
                    mirror.answer(self, mirror.asked[-1])

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.host}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def start_mirror():
    mirrors = []

    def start(answer=None):
        mirrors.append(Mirror())
        mirrors[-1].answer = answer or send_good
        return mirrors[-1]

    yield start
    for mirror in mirrors:
        mirror.close()


def send(handler, body, length=None, status=200):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def send_good(handler, name):
    send(handler, PACKED[name])


def send_instead(content):
    """An answer that is sound gzip of something else."""
    return lambda handler, name: send(handler, gzip.compress(content(CONTENT[name[:-3]])))


def send_status(status):
    return lambda handler, name: send(handler, b"<html>no</html>", status=status)


def send_page(handler, name):
    send(handler, b"\n<!doctype html><title>Please log in</title>")


def send_noise(handler, name):
    send(handler, b"Please log in")


def send_nothing(handler, name):
    pass


def send_raw(handler, name):
    handler.wfile.write(PACKED[name])


def send_bad_chunks(handler, name):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"ff\r\n" + PACKED[name])


def send_empty(handler, name):
    send(handler, b"")


def break_off(handler, name):
    send(handler, PACKED[name][:-9], length=len(PACKED[name]))


def send_truncated(handler, name):
    send(handler, PACKED[name][:-9])


def send_corrupt(handler, name):
    packed = bytearray(PACKED[name])
    packed[-8] ^= 1  # its CRC
    send(handler, packed)


def send_endless(handler, name):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(32):  # MB: as good as endless
        handler.wfile.write(bytes(1 << 20))


def stall(handler, name):
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(PACKED[name][:50])
    handler.wfile.flush()
    handler.closing.wait(5)


def flipped(content):
    return content[:-1] + bytes([content[-1] ^ 1])


FAULTS = {
    "404": (send_status(404), "HTTP 404"),
    "500": (send_status(500), "HTTP 500"),
    "no answer": (send_nothing, "no proper HTTP answer"),
    "not HTTP": (send_raw, "no proper HTTP answer"),
    "bad chunks": (send_bad_chunks, "no proper HTTP answer"),
    "empty": (send_empty, "shorter than the 88 bytes of train-images-idx3-ubyte"),
    "web page": (send_page, "a web page, not data"),
    "noise": (send_noise, "not valid gzip data"),
    "broken off": (break_off, "cut short"),
    "truncated gzip": (send_truncated, "cut short"),
    "corrupt gzip": (send_corrupt, "not valid gzip data"),
    "wrong content": (send_instead(flipped), "wrong content: SHA-256 is "),
    "wrong magic": (
        send_instead(lambda content: b"\0\0\x0d" + content[3:]),
        "IDX header is 00000d03 0000000c 00000002 00000003, "
        "must be 00000803 0000000c 00000002 00000003",
    ),
    "wrong shape": (
        send_instead(lambda content: content[:8] + content[12:16] + content[8:12] + content[16:]),
        "IDX header is 00000803 0000000c 00000003 00000002, ",
    ),
    "too short": (send_instead(lambda content: content[:-1]), "shorter than the 88 bytes of"),
    "too long": (send_instead(lambda content: content + b"\0"), "longer than the 88 bytes of"),
    "bomb": (send_instead(lambda content: bytes(500_000)), "longer than the 88 bytes of"),
    "endless": (send_endless, "sends more than 1,112 bytes"),
    "stalled": (stall, "timed out"),
}


def put(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_right(loaded):
    """The tiny training and validation examples, bit by bit."""
    (x, y), (x_val, y_val), n_classes = loaded
    images, labels = ARRAYS["train-images"].reshape(12, 6), ARRAYS["train-labels"]
    np.testing.assert_array_equal(x, images[:7], strict=True)
    np.testing.assert_array_equal(y, labels[:7], strict=True)
    np.testing.assert_array_equal(x_val, images[7:], strict=True)
    np.testing.assert_array_equal(y_val, labels[7:], strict=True)
    assert n_classes == 10


def is_mapped(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(getattr(array, "obj", array), mmap.mmap)


def refusal(load=mnist.load_mnist, **options):
    with pytest.raises(UserError) as caught:
        load(**options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# What comes back


def test_final_takes_all_training_images_and_the_test_set(folder):
    put(folder, PACKED)
    (x, y), (x_test, y_test), _ = mnist.load_mnist(final=True)
    np.testing.assert_array_equal(x, ARRAYS["train-images"].reshape(len(y), -1), strict=True)
    np.testing.assert_array_equal(y, ARRAYS["train-labels"], strict=True)
    np.testing.assert_array_equal(
        x_test, ARRAYS["t10k-images"].reshape(len(y_test), -1), strict=True
    )
    np.testing.assert_array_equal(y_test, ARRAYS["t10k-labels"], strict=True)


@pytest.mark.parametrize("form", [CONTENT, PACKED], ids=["unpacked", "packed"])
def test_arrays_are_plain_and_read_only(folder, form):
    put(folder, form)
    for arrays in mnist.load_mnist()[:2]:
        for array in arrays:
            assert type(array) is np.ndarray
            assert array.dtype == np.uint8
            assert not array.flags.writeable


def test_test_files_are_not_touched_unless_final(folder):
    put(folder, PACKED)
    put(folder, {f"{TEST_IMAGES}.gz": b"damaged"})
    assert_right(mnist.load_mnist())
    assert f"{TEST_IMAGES}.gz can't be used" in refusal(final=True)


# Files in the data folder


def test_unpacked_file_is_mapped_without_a_copy(folder, cache):
    put(folder, CONTENT)
    loaded = mnist.load_mnist()
    assert_right(loaded)
    assert is_mapped(loaded[0][0])
    assert not cache.exists()


@pytest.mark.parametrize(
    "repacked",
    [
        lambda content: gzip.compress(content, 1, mtime=1),
        lambda content: gzip.compress(content, 0),
        lambda content: gzip.compress(content[:9]) + gzip.compress(content[9:]),
    ],
    ids=["level 1", "level 0", "two members"],
)
def test_recompressed_file_passes(folder, repacked):
    put(folder, {f"{name}.gz": repacked(content) for name, content in CONTENT.items()})
    assert_right(mnist.load_mnist())


def test_data_folder_with_the_files_is_only_read(folder, start_mirror, use_mirrors):
    mirror = start_mirror()
    use_mirrors(mirror.url)
    put(folder, PACKED)
    mnist.load_mnist(final=True)
    assert files_in(folder) == PACKED
    assert mirror.asked == []


DAMAGES = {
    "cut short": (f"{IMAGES}.gz", PACKED[f"{IMAGES}.gz"][:-9], "cut short"),
    "page": (f"{IMAGES}.gz", b"<html>", "a web page, not data"),
    "empty gz": (f"{IMAGES}.gz", b"", f"shorter than the 88 bytes of {IMAGES}"),
    "tampered gz": (
        f"{IMAGES}.gz",
        gzip.compress(flipped(CONTENT[IMAGES])),
        f"wrong content: SHA-256 is {hashlib.sha256(flipped(CONTENT[IMAGES])).hexdigest()}, "
        f"must be {hashlib.sha256(CONTENT[IMAGES]).hexdigest()}",
    ),
    "swapped gz": (f"{IMAGES}.gz", PACKED[f"{LABELS}.gz"], "shorter than the 88 bytes of"),
    "tampered": (LABELS, flipped(CONTENT[LABELS]), "wrong content: SHA-256 is "),
    "longer": (LABELS, CONTENT[LABELS] + b"\0", f"longer than the 20 bytes of {LABELS}"),
    "empty": (LABELS, b"", f"shorter than the 20 bytes of {LABELS}"),
}


@pytest.mark.parametrize(("name", "content", "words"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_is_named_and_left_alone(
    folder, start_mirror, use_mirrors, name, content, words
):
    mirror = start_mirror()
    use_mirrors(mirror.url)
    put(folder, PACKED)
    mnist.load_mnist()  # a warm cache must not hide the damage
    put(folder, {name: content})
    before = files_in(folder)
    message = refusal()
    assert message.startswith(f"dataset=mnist: {folder / name} can't be used: {words}")
    assert message.endswith("; replace it, or remove it to have it downloaded again")
    assert files_in(folder) == before
    assert mirror.asked == []


def test_unreadable_file_is_named(folder):
    (folder / f"{IMAGES}.gz").mkdir(parents=True)
    assert f"{IMAGES}.gz can't be used: Is a directory;" in refusal()


def test_bomb_is_not_unpacked(folder):
    put(folder, {f"{IMAGES}.gz": gzip.compress(bytes(1 << 20)) * 64})
    tracemalloc.start()
    message = refusal()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "longer than the 88 bytes" in message
    assert peak < 2 << 20


# Download


def test_download_fills_the_data_folder(folder, cache, start_mirror, use_mirrors, capfd):
    mirror = start_mirror()
    use_mirrors(mirror.url)
    assert_right(mnist.load_mnist())
    assert mirror.asked == TRAIN_PACKED
    assert files_in(folder) == {name: PACKED[name] for name in TRAIN_PACKED}
    assert set(files_in(cache).values()) == {CONTENT[IMAGES], CONTENT[LABELS]}
    assert f"{IMAGES}.gz: 100%" in capfd.readouterr().err

    assert_right(mnist.load_mnist())
    assert mirror.asked == TRAIN_PACKED
    mnist.load_mnist(final=True)
    assert mirror.asked == list(PACKED)


def test_default_folder_is_data_where_the_command_is_run(
    folder, start_mirror, use_mirrors, tmp_path, monkeypatch
):
    monkeypatch.delenv("MLP_DATA_DIR")
    monkeypatch.chdir(tmp_path)
    mirror = start_mirror(send_status(404))
    use_mirrors(mirror.url)
    assert refusal() == (
        "dataset=mnist: train-images-idx3-ubyte.gz is not in data/mnist and could not be "
        f"downloaded ({mirror.host}: HTTP 404); put the four files there or set MLP_DATA_DIR"
    )
    mirror.answer = send_good
    assert_right(mnist.load_mnist())
    assert sorted(files_in(tmp_path / "data" / "mnist")) == TRAIN_PACKED


@pytest.mark.parametrize(("fault", "words"), FAULTS.values(), ids=FAULTS)
def test_faulty_mirror(folder, cache, start_mirror, use_mirrors, monkeypatch, fault, words):
    if fault is stall:
        monkeypatch.setattr(download, "SILENCE", 0.1)
    bad, good = start_mirror(fault), start_mirror()

    use_mirrors(bad.url)
    message = refusal()
    assert message.startswith(
        f"dataset=mnist: {IMAGES}.gz is not in {folder} and could not be downloaded ({bad.host}: "
    )
    assert words in message
    assert message.endswith("); put the four files there or set MLP_DATA_DIR")
    assert files_in(folder) == files_in(cache) == {}

    use_mirrors(bad.url, good.url)
    assert_right(mnist.load_mnist())
    assert bad.asked == [f"{IMAGES}.gz", *TRAIN_PACKED]
    assert good.asked == TRAIN_PACKED
    assert files_in(folder) == {name: PACKED[name] for name in TRAIN_PACKED}


def test_every_mirror_is_named_with_its_answer(folder, start_mirror, use_mirrors):
    first, second = start_mirror(send_status(404)), start_mirror(send_page)
    use_mirrors(first.url, second.url)
    answers = f"({first.host}: HTTP 404; {second.host}: a web page, not data)"
    assert answers in refusal()


def test_mirror_down(folder, start_mirror, use_mirrors):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = f"127.0.0.1:{listening.getsockname()[1]}"
    use_mirrors(f"http://{host}/")
    assert f"({host}: Connection refused)" in refusal()
    use_mirrors(f"http://{host}/", start_mirror().url)
    assert_right(mnist.load_mnist())


def test_no_network(folder, use_mirrors, monkeypatch):
    def no_name_server(*args, **options):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_name_server)
    use_mirrors("http://mirror.example/")
    assert "(mirror.example: no network)" in refusal()
    assert files_in(folder) == {}


def fail_with(error):
    def fail(*args, **options):
        raise error

    return fail


def test_disk_full_during_download(folder, start_mirror, use_mirrors, monkeypatch):
    first, second = start_mirror(), start_mirror()
    use_mirrors(first.url, second.url)
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_with(full))
        message = refusal()
    assert f"not in {folder}" in message
    assert "(can't write there: No space left on device);" in message
    assert first.asked == second.asked == [f"{IMAGES}.gz"]
    assert files_in(folder) == {}
    assert_right(mnist.load_mnist())


def test_folder_that_cannot_be_written(folder, start_mirror, use_mirrors, monkeypatch):
    mirror = start_mirror()
    use_mirrors(mirror.url)
    read_only = OSError(errno.EROFS, "Read-only file system")
    monkeypatch.setattr(Path, "mkdir", fail_with(read_only))
    assert "(can't write there: Read-only file system);" in refusal()
    assert mirror.asked == []


def test_interrupt_leaves_nothing(folder, cache, start_mirror, use_mirrors, monkeypatch):
    use_mirrors(start_mirror().url)
    monkeypatch.setattr(os, "fsync", fail_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        mnist.load_mnist()
    assert files_in(folder) == files_in(cache) == {}


def load_at_once(source, barrier, results):
    mnist.SHAPES, mnist.NUM_VAL, mnist.MNIST = SHAPES, NUM_VAL, source
    barrier.wait(20)
    try:
        assert_right(mnist.load_mnist())
        results.put("right")
    except BaseException as error:
        results.put(repr(error))
        raise


def test_two_processes_at_once(folder, cache, start_mirror):
    both_asked = threading.Barrier(2)

    def send_when_both_have_asked(handler, name):
        both_asked.wait(5)
        send_good(handler, name)

    mirror = start_mirror(send_when_both_have_asked)
    spawn = multiprocessing.get_context("spawn")
    shared = tiny_source(mirror.url), spawn.Barrier(2), spawn.Queue()
    jobs = [spawn.Process(target=load_at_once, args=shared) for _ in range(2)]
    for job in jobs:
        job.start()
    assert [shared[2].get(timeout=30) for _ in jobs] == ["right", "right"]
    for job in jobs:
        job.join()
    assert sorted(mirror.asked) == sorted(TRAIN_PACKED * 2)
    assert files_in(folder) == {name: PACKED[name] for name in TRAIN_PACKED}
    assert sorted(files_in(cache).values()) == sorted([CONTENT[IMAGES], CONTENT[LABELS]])


# Cache


def test_cache_saves_the_unpacking(folder, monkeypatch):
    put(folder, PACKED)
    mnist.load_mnist()
    monkeypatch.setattr(gzip, "open", fail_with(AssertionError("unpacked again")))
    loaded = mnist.load_mnist()
    assert_right(loaded)
    assert is_mapped(loaded[0][0])


@pytest.mark.parametrize(
    "spoil",
    [flipped, lambda content: content[:-1], lambda content: content + b"\0", lambda content: b""],
    ids=["tampered", "cut short", "longer", "empty"],
)
def test_bad_cache_file_is_replaced(folder, cache, spoil):
    put(folder, PACKED)
    mnist.load_mnist()
    good = files_in(cache)
    assert len(good) == 2
    put(cache, {name: spoil(content) for name, content in good.items()})
    assert_right(mnist.load_mnist())
    assert files_in(cache) == good


def test_cache_that_cannot_be_written_does_not_matter(folder, tmp_path):
    put(folder, PACKED)
    (tmp_path / "cache").write_bytes(b"a file, where a folder should be")
    assert_right(mnist.load_mnist())


def test_full_disk_under_the_cache_does_not_matter(folder, cache, monkeypatch):
    put(folder, PACKED)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", fail_with(full))
    assert_right(mnist.load_mnist())
    assert files_in(cache) == {}


# Fashion-MNIST


def test_fashion_mnist_is_found_in_the_systems_folder_too(folder, tmp_path, monkeypatch):
    system, own = tmp_path / "system", folder.with_name("fashion_mnist")
    source = tiny_source(name="fashion_mnist", also_in=(system,))
    monkeypatch.setattr(mnist, "FASHION_MNIST", source)
    message = refusal(mnist.load_fashion_mnist)
    assert message.startswith(f"dataset=fashion_mnist: {IMAGES}.gz is not in {own} and could not")
    put(system, PACKED)
    assert_right(mnist.load_fashion_mnist())
    assert files_in(own) == {}
    put(own, {IMAGES: b"damaged"})
    assert f"{own / IMAGES} can't be used" in refusal(mnist.load_fashion_mnist)


# The real files


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """MNIST itself, by `final`; no download: set but empty, MLP_DATA_DIR is a failure."""
    if not os.environ.get("MLP_DATA_DIR"):
        pytest.skip("MLP_DATA_DIR is not set")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        offline = mnist.Source(mnist.MNIST.name, (), mnist.MNIST.sha256)
        patch.setattr(mnist, "MNIST", offline)
        yield {final: mnist.load_mnist(final=final) for final in (False, True)}


def test_real_shapes(real):
    for final, n_train, n_held_out in [(False, 55_000, 5_000), (True, 60_000, 10_000)]:
        *splits, n_classes = real[final]
        assert n_classes == 10
        for (x, y), n in zip(splits, (n_train, n_held_out), strict=True):
            assert (x.shape, y.shape) == ((n, 784), (n,))
            assert x.dtype == y.dtype == np.uint8
            assert (x.min(), x.max()) == (0, 255)


def test_real_labels(real):
    (_, y), (_, y_test), _ = real[True]
    assert y[:5].tolist() == [5, 0, 4, 1, 9]
    assert y_test[:5].tolist() == [7, 2, 1, 0, 4]
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(y).tolist() == train
    assert np.bincount(y_test).tolist() == test


def test_real_split(real):
    (x, y), (x_val, y_val), _ = real[False]
    x_all, y_all = real[True][0]
    assert np.array_equal(x, x_all[:55_000])
    assert np.array_equal(x_val, x_all[55_000:])
    assert np.array_equal(np.concatenate([y, y_val]), y_all)


# Other layouts


@pytest.mark.parametrize(
    ("place", "given"),
    [
        ("mnist", "."),
        ("MNIST/raw", "."),
        ("mnist", "mnist"),
        ("MNIST/raw", "MNIST/raw"),
    ],
)
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("files", [CONTENT, PACKED], ids=["unpacked", "packed"])
def test_other_folders_and_names(folder, place, given, dotted, files, monkeypatch):
    data = folder.parent
    (data / place).mkdir(parents=True)
    for name, content in files.items():
        name = name.replace("-idx", ".idx") if dotted else name
        (data / place / name).write_bytes(content)
    monkeypatch.setenv("MLP_DATA_DIR", str(data / given))
    assert_right(mnist.load_mnist())


def test_fashion_mnist_as_torchvision_has_it(folder, monkeypatch):
    raw = folder.parent / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    for name, content in PACKED.items():
        (raw / name).write_bytes(content)
    other = mnist.FASHION_MNIST
    source = mnist.Source(other.name, (), tiny_source().sha256, torchvision=other.torchvision)
    monkeypatch.setattr(mnist, "FASHION_MNIST", source)
    assert_right(mnist.load_fashion_mnist())


@pytest.mark.parametrize("given", ["{}/mistyped", "~nobody-of-this-name/x"])
def test_a_mistyped_data_folder_is_said_and_not_made(folder, tmp_path, given, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = given.format(tmp_path)
    monkeypatch.setenv("MLP_DATA_DIR", given)
    assert refusal() == f"MLP_DATA_DIR={given} is no folder: make it, or correct the variable"
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_a_tilde_is_the_home(folder, tmp_path, monkeypatch):
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLP_DATA_DIR", "~/data")
    assert_right(mnist.load_mnist())


def test_without_a_home_nothing_is_cached(folder, tmp_path, monkeypatch):
    folder.mkdir()
    for name, content in PACKED.items():
        (folder / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for an unknown user
    assert_right(mnist.load_mnist())
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
