"""Files that are there whole or not at all."""

import os
import secrets
from contextlib import contextmanager


@contextmanager
def whole_file(path):
    """A binary file to write, which appears as `path` only when the block ends well.

    Until then it has another name in the same folder. So a kill at any moment leaves what was
    under `path` before, or the new file, whole and on the disk.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("xb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
