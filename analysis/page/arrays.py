"""Numbers within a page: arrays as text, each of them once."""

import base64
import json
import math

import numpy as np


class Arrays:
    """A list of arrays that others point into by their place."""

    def __init__(self):
        self.texts, self._places = [], {}

    def add(self, values):
        """The place of values (n,). They keep 24 bits, and all 53 if whole numbers need them."""
        values = np.ascontiguousarray(values, "<f8")
        with np.errstate(over="ignore"):
            short = values.astype("<f4")
        is_exact = (values % 1 != 0) | (short == values)
        fits = is_exact.all() and np.isfinite(short).all()
        text = f"{4 if fits else 8}" + base64.b64encode(short if fits else values).decode()
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
        return self._places[text]


def without_nan(value):
    """The same lists and dicts with None for each number that is not finite: JSON has none."""
    if isinstance(value, dict):
        return {key: without_nan(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_json(data):
    """JSON that can stand within <script>: no text in it ends the element."""
    text = json.dumps(without_nan(data), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
