"""Numbers by name, each with its text for LaTeX."""

import math
from typing import NamedTuple

import numpy as np

from ..statistics import mean_and_std, with_std


class Fact(NamedTuple):
    value: object
    text: str


class Facts(dict):
    """{name: Fact}; after `facts.add("lr", best=0.03)`, facts["lr.best"] is 0.03."""

    def add(self, part, spec="", **values):
        """Numbers of a part of the report, {key: value}; `n_train` becomes PART.n-train.

        spec: a format, such as ".2f"; without it they are written as a person would.
        """
        for key, value in values.items():
            value = value.item() if isinstance(value, np.generic) else value
            text = f"{value:{spec}}" if spec else number(value)
            self[f"{part}.{key.replace('_', '-')}"] = Fact(value, text)

    def add_text(self, name, value, text):
        self[name] = Fact(value, text)

    def add_spread(self, name, values, write):
        """Mean and sample std of values: NAME.mean and NAME.std; NAME's text is what write says."""
        mean, std = mean_and_std(np.asarray(values))
        self.add(name, mean=mean, std=std)
        self.add_text(name, mean, write(mean, std))

    def __getitem__(self, name):
        return super().__getitem__(name).value

    def text(self, name):
        return super().__getitem__(name).text


def number(value):
    """A number as a person writes it: 55,000, 0.0372, 2.4e-10 as a power of ten."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return escaped(str(value))
    if isinstance(value, int):
        return f"{value:,}".replace(",", "{,}")
    if not math.isfinite(value):
        return {math.inf: r"$\infty$", -math.inf: r"$-\infty$"}.get(value, "NaN")
    if value and not 1e-4 <= abs(value) < 1e6:
        digits, power = f"{value:.1e}".split("e")
        return rf"${digits} \times 10^{{{int(power)}}}$"
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}".replace(",", "{,}")
    return f"${text}$" if value < 0 else text


def spread(mean, std):
    """Mean and standard deviation, to two digits of the latter."""
    return f"${with_std(mean, std)}$".replace("±", r"\pm")


def percent(mean, std):
    """The same, of values from 0 to 1, in per cent to two places."""
    return rf"${100 * mean:.2f} \pm {100 * std:.2f}$"


def signed(value):
    text = f"{value:z.4f}" if value % 1 else f"{value:z.0f}"
    return f"${text}$"


def described(settings):
    """A candidate's settings as on the command line, for print."""
    shown = [
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in settings.items()
        if value not in (None, 0.0, False)
    ]
    return ", ".join(map(typed, shown))


def typed(text):
    """As a person types it, for print."""
    return rf"\texttt{{{escaped(text)}}}"


def escaped(text):
    for character in "\\_%&#$":
        text = text.replace(character, rf"\{character}" if character != "\\" else "/")
    return text
