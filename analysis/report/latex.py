"""Generated files for the text, and the PDF by latexmk.

The text asks for what it needs by name: \\val{NAME} a number, \\tab{NAME} a table, \\fig{NAME} a
figure, \\code{FILE}{FUNCTION} a function's source, \\claim{NAME}{SENTENCE} a claim that claims.py
holds. All that is generated lies in one folder, which TEXINPUTS names.
"""

import ast
import os
import re
import shutil
import subprocess
from textwrap import dedent

from mlp.errors import UserError

from .sweeps import ROOT

SOURCE = ROOT / "report"
PACKAGES = "latexmk texlive-latex-recommended texlive-pictures lmodern"  # Debian's
STYLES = "booktabs.sty", "listings.sty", "tikz.sty", "lmodern.sty", "microtype.sty", "caption.sty"


def text():
    """The written text, all files in one."""
    paths = [SOURCE / "report.tex", *sorted((SOURCE / "sections").glob("*.tex"))]
    return "\n".join(path.read_text() for path in paths)


def asked(command, n=1):
    """What the text asks for by a command with n arguments: a list of strings, or of tuples."""
    pattern = r"\\" + command + r"\{([^{}]*)\}" * n
    found = re.findall(pattern, re.sub(r"(?m)(?<!\\)%.*|^\\newcommand.*", "", text()))
    return list(dict.fromkeys(found))


# Files that the text includes


def write_numbers(folder, facts):
    lines = [rf"\setval{{{name}}}{{{facts.text(name)}}}" for name in facts]
    write(folder / "numbers.tex", "\n".join(lines) + "\n")


def write_code(folder):
    for file, function in asked("code", 2):
        write(folder / "code" / code_name(file, function), source_of(ROOT / file, function))


def code_name(file, function):
    return f"{file}/{function}.py"


def source_of(path, name):
    """The source of a function, class or method (Class.method), without outer indentation."""
    whole = path.read_text()
    body = ast.parse(whole).body
    for part in name.split("."):
        found = [n for n in body if getattr(n, "name", None) == part]
        if not found:
            raise UserError(f"the report lists {name} of {path.name}, which is not there")
        node, body = found[0], getattr(found[0], "body", [])
    lines = whole.splitlines()[node.lineno - 1 : node.end_lineno]
    return dedent("\n".join(lines)) + "\n"


def write(path, content):
    """Write a file unless it has this content: latexmk looks at times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != content:
        path.write_text(content)


# The PDF


def check_latex():
    """Raises UserError, which says what to install, where LaTeX is missing."""
    missing = [program for program in ("latexmk", "pdflatex") if not shutil.which(program)]
    if not missing:
        command = ["kpsewhich", *STYLES]
        found = subprocess.run(command, capture_output=True, text=True).stdout
        missing = [style for style in STYLES if style not in found]
    if missing:
        raise UserError(
            f"no {', '.join(missing)}; on Debian: apt install {PACKAGES}; or add --no-build"
        )


def build(place):
    """report.pdf of a place, from the text and its generated files. Raises UserError.

    Returns the lines of LaTeX's log that tell of something a reader would see.
    """
    folder = place.runs / "latex"
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"TEXINPUTS": f"{place.generated}:", "max_print_line": "1000"}
    command = ["latexmk", "-norc", "-pdf", "-halt-on-error", "-interaction=nonstopmode"]
    command += ["-file-line-error", f"-output-directory={folder}", "report.tex"]
    done = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True)
    path = folder / "report.log"
    log = path.read_text(errors="replace") if path.exists() else ""
    if done.returncode:
        found = re.findall(r"(?m)^(?:!|.*\.tex:\d+:).*", log) or ["no log"]
        raise UserError(f"latexmk failed: {found[0]}; see {path}")
    shutil.copyfile(folder / "report.pdf", place.pdf)
    return warnings(log)


VISIBLE = (  # what a reader of the PDF would see
    r"Overfull \\[hv]box .*",
    r"LaTeX Warning: (?:Reference|Citation|Label|There were).*",
    r"LaTeX Font Warning: Some font shapes.*",
    r"Missing character: .*",
    r"Package hyperref Warning: (?!Token).*",
)


def warnings(log):
    """Lines of a LaTeX log that tell of something a reader would see."""
    return re.findall(rf"(?m)^(?:{'|'.join(VISIBLE)})", log)
