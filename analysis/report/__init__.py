"""The report, from the runs it rests on to report/report.pdf: `python -m analysis.report`.

    sweeps.py    the sweeps of run.py that it rests on, and what they gave
    search.py    the search's candidates, and who goes on to the next round
    published.py what others report
    checks.py    gradients, computed in several ways
    numbers.py   numbers by name, each with its text
    facts.py     run folders -> numbers by name
    claims.py    what the text claims of these numbers
    figures.py   run folders -> figures
    tables.py    run folders -> LaTeX tables
    latex.py     what is generated, into files that the text includes; latexmk
    readme.py    the README's block

Each knows those above it alone. The text itself is report/report.tex and report/sections/.
"""
