"""The worked example prints what one finds by hand."""

import pytest

from analysis.worked_example import main

# By hand: k = 1*1 + (-1)*(-1) = 2; 1/(1 + exp(-2)) = 0.8808; both logits are 0.8808 (1 - 1 - 1),
# so either class has probability 1/2 and the loss is log 2. As dl/do is the same but for its sign
# and the two columns of V are equal, dl/dh is 0, and with it everything below.
BY_HAND = {
    "x": [[1, -1]],
    "W": [[1, 1, 1], [-1, -1, -1]],
    "b": [[0, 0, 0]],
    "V": [[1, 1], [-1, -1], [-1, -1]],
    "c": [[0, 0]],
    "k": [[2, 2, 2]],
    "h": [[0.8808, 0.8808, 0.8808]],
    "o": [[-0.8808, -0.8808]],
    "y": [[0.5, 0.5]],
    "l": [[0.6931]],
    "dl/do": [[-0.5, 0.5]],
    "dl/dV": [[-0.4404, 0.4404]] * 3,
    "dl/dc": [[-0.5, 0.5]],
    "dl/dh": [[0, 0, 0]],
    "dl/dk": [[0, 0, 0]],
    "dl/dW": [[0, 0, 0], [0, 0, 0]],
    "dl/db": [[0, 0, 0]],
}


def test_every_value_and_derivative_is_printed_with_four_decimals(capsys):
    main([])
    printed, name = {}, None
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("  "):
            name = line[:7].strip() or name
            printed.setdefault(name, []).append(line[7:34].split())
    in_four_decimals = {
        name: [[f"{value:.4f}" for value in row] for row in rows] for name, rows in BY_HAND.items()
    }
    assert printed == in_four_decimals
    assert list(printed) == list(BY_HAND), "in the order of the computation"


def test_every_computed_line_has_its_formula(capsys):
    main([])
    computed = capsys.readouterr().out.partition("Forward")[2].splitlines()
    named = [line for line in computed if line.startswith("  ") and line[2] != " "]
    assert len(named) == 12 and all(" = " in line[34:] for line in named)


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    assert "example: python -m analysis.worked_example" in capsys.readouterr().out
