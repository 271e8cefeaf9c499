"""Download a file over HTTP."""

import socket
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from tqdm import tqdm

from mlp.errors import Unusable

SILENCE = 20  # seconds without a byte, after which a mirror is given up


def download(url, most):
    """The body at url, with a progress bar; Unusable when it can't be had in `most` bytes."""
    body = bytearray()
    try:
        with (
            urlopen(url, timeout=SILENCE) as response,
            tqdm(desc=Path(url).name, total=response.length, unit="B", unit_scale=True) as bar,
        ):
            while chunk := response.read1(1 << 16):
                body += chunk
                bar.update(len(chunk))
                if len(body) > most:
                    raise Unusable(f"sends more than {most:,} bytes")
    except HTTPError as error:
        raise Unusable(f"HTTP {error.code}") from error
    except HTTPException as error:
        raise Unusable("no proper HTTP answer") from error
    except OSError as error:
        cause = getattr(error, "reason", error)  # urlopen wraps what the socket said
        if isinstance(cause, socket.gaierror):  # not even a name server
            raise Unusable("no network") from error
        raise Unusable(getattr(cause, "strerror", None) or str(cause)) from error
    return body
