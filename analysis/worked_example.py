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

    print("Given: one example, whose true class is 0, and the parameters")
    x = show("x", [1, -1])
    W = show("W", [[1, 1, 1], [-1, -1, -1]])
    b = show("b", [0, 0, 0])
    V = show("V", [[1, 1], [-1, -1], [-1, -1]])
    c = show("c", [0, 0])

    print("\nForward")
    k = show("k", linear(x, W, b), "k_j = sum_i x_i W_ij + b_j")
    h = show("h", sigmoid(k), "h_j = 1 / (1 + exp(-k_j))")
    o = show("o", linear(h, V, c), "o_j = sum_i h_i V_ij + c_j")
    y, loss = softmax_cross_entropy(o, 0)
    show("y", y, "y_j = exp(o_j) / sum_i exp(o_i)")
    show("l", loss, "l = -log y_0, in nats")

    print("\nBackward, by the chain rule")
    do = show("dl/do", softmax_cross_entropy_backward(y, 0), "dl/do_j = y_j - [j = 0]")
    show("dl/dV", linear_backward_weights(do, h), "dl/dV_ij = h_i dl/do_j")
    show("dl/dc", do, "dl/dc_j = dl/do_j")
    dh = show("dl/dh", linear_backward(do, V), "dl/dh_i = sum_j V_ij dl/do_j")
    dk = show("dl/dk", sigmoid_backward(dh, h), "dl/dk_j = dl/dh_j h_j (1 - h_j)")
    show("dl/dW", linear_backward_weights(dk, x), "dl/dW_ij = x_i dl/dk_j")
    show("dl/db", dk, "dl/db_j = dl/dk_j")


def show(name, value, formula=""):
    """Print a number, a vector or a matrix (row by row) beside its formula, and hand it back."""
    rows = value if isinstance(value, list) else [value]
    rows = rows if isinstance(rows[0], list) else [rows]
    for row in rows:
        numbers = "".join(f"{number:z9.4f}" for number in row)  # z: no minus sign before 0.0000
        print(f"  {name:5}{numbers:27}    {formula}".rstrip())
        name = formula = ""
    return value


if __name__ == "__main__":
    main()
