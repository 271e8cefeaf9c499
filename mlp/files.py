"""Files that are there whole or not at all, and a lock that dies with its process."""

import os
import secrets
import time
from contextlib import contextmanager, suppress

try:
    import fcntl
except ImportError:  # Windows; there nothing is ever locked
    fcntl = None

PART = "." + "*." + "[0-9a-f]" * 16  # what `whole_file` has not finished


@contextmanager
def naming(path):
    """An OSError of the block names this path, if none: those of writing name no file."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def whole_file(path, durable=True):
    """A binary file to write, which appears as `path` only when the block ends well.

    Until then it has another name in the same folder. So a kill at any moment leaves what was
    under `path` before, or the new file, whole and, if durable, on the disk.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming(path), part.open("xb") as output:
            yield output
            output.flush()
            if durable:
                os.fsync(output.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    if durable and os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with naming(path):
                os.fsync(folder)  # it holds the new name
        finally:
            os.close(folder)


def lock(path):
    """`path`, open, owned until it is closed or this process ends; None if another owns it.

    The owner removes the file before it closes it.
    """
    for _ in range(20):  # to ask whether a file is owned takes a lock too, for a moment
        file = open(path, "ab")  # noqa: SIM115
        with suppress(BlockingIOError, FileNotFoundError):
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):  # not a removed one
                return file
        file.close()
        time.sleep(0.01)
    return None
