"""The README's block, between two marks: report/readme.md with the numbers filled in."""

import re

from mlp.errors import UserError

from .latex import PACKAGES, SOURCE, write
from .sweeps import ROOT

BEGIN, END = "<!-- report: python -m analysis.report writes this block -->", "<!-- /report -->"


def block(facts):
    """The text with its {names} replaced by the facts' texts, without LaTeX."""

    def fill(match):
        text = PACKAGES if match[1] == "packages" else facts.text(match[1])
        return re.sub(r"[${}]", "", text).replace(r" \pm ", " ± ")

    return re.sub(r"\{([\w.-]+)\}", fill, (SOURCE / "readme.md").read_text())


def with_block(text, facts):
    """A README's text with the block renewed. Raises UserError where it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"README.md lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{block(facts)}\n{END}{after}"


def renew(facts):
    path = ROOT / "README.md"
    write(path, with_block(path.read_text(), facts))
