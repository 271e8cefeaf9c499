"""The hand-sized network: every value of one forward pass and every derivative, in order.

Two inputs, three sigmoid hidden units, two classes, one example. Each line shows a value and the
formula that gives it from the lines above; the code reads in the same order.
"""

from argparse import ArgumentParser

from mlp.scalar import (
    linear,
    linear_backward,
    linear_backward_weights,
    sigmoid,
    sigmoid_backward,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
)


def main(argv=None):
    ArgumentParser(
        prog="python -m analysis.worked_example",
        description="Print every value and every derivative of a network small enough to check "
        "by hand. A matrix has a row for each input of its layer and a column for each output.",
        epilog="example: python -m analysis.worked_example",
    ).parse_args(argv)

    print(f"Given: one example, whose true class is {LABEL}, and the parameters")
    for name, value, formula in compute():
        if name in HEADINGS:
            print(f"\n{HEADINGS[name]}")
        show(name, value, formula)


LABEL = 0
HEADINGS = {"k": "Forward", "dl/do": "Backward, by the chain rule"}


def compute():
    """Every value, in order: (name, number or vector or matrix, formula or "" if it is given)."""
    lines = []

    def keep(name, value, formula=""):
        lines.append((name, value, formula))
        return value

    x = keep("x", [1, -1])
    W = keep("W", [[1, 1, 1], [-1, -1, -1]])
    b = keep("b", [0, 0, 0])
    V = keep("V", [[1, 1], [-1, -1], [-1, -1]])
    c = keep("c", [0, 0])

    k = keep("k", linear(x, W, b), "k_j = sum_i x_i W_ij + b_j")
    h = keep("h", sigmoid(k), "h_j = 1 / (1 + exp(-k_j))")
    o = keep("o", linear(h, V, c), "o_j = sum_i h_i V_ij + c_j")
    y, loss = softmax_cross_entropy(o, LABEL)
    keep("y", y, "y_j = exp(o_j) / sum_i exp(o_i)")
    keep("l", loss, "l = -log y_0, in nats")

    do = keep("dl/do", softmax_cross_entropy_backward(y, LABEL), "dl/do_j = y_j - [j = 0]")
    keep("dl/dV", linear_backward_weights(do, h), "dl/dV_ij = h_i dl/do_j")
    keep("dl/dc", do, "dl/dc_j = dl/do_j")
    dh = keep("dl/dh", linear_backward(do, V), "dl/dh_i = sum_j V_ij dl/do_j")
    dk = keep("dl/dk", sigmoid_backward(dh, h), "dl/dk_j = dl/dh_j h_j (1 - h_j)")
    keep("dl/dW", linear_backward_weights(dk, x), "dl/dW_ij = x_i dl/dk_j")
    keep("dl/db", dk, "dl/db_j = dl/dk_j")
    return lines


def show(name, value, formula=""):
    """Print a number, a vector or a matrix (row by row) beside its formula."""
    rows = value if isinstance(value, list) else [value]
    rows = rows if isinstance(rows[0], list) else [rows]
    for row in rows:
        numbers = "".join(f"{number:z9.4f}" for number in row)  # z: no minus sign before 0.0000
        print(f"  {name:5}{numbers:27}    {formula}".rstrip())
        name = formula = ""


if __name__ == "__main__":
    main()
