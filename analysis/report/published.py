"""What others report for this network, and where. The report compares itself with these."""

# Validation accuracy in % after 5 epochs at batch size 1, mean and std of 5 runs, by learning rate.
# https://github.com/Max-Faber/Deep-Learning-VU: assignment_1, report and exports. Its code draws
# initial weights from a uniform distribution over -1..1 and keeps the examples in one order.
COURSE = {
    0.001: (92.66, 0.32),
    0.003: (94.59, 0.19),
    0.01: (95.98, 0.29),
    0.03: (96.67, 0.26),
}
COURSE_RUNS = 5

# Test accuracy in %, hidden units and epochs, by name.
OTHERS = {
    # https://github.com/mirpulatov/mnist, README: 15 epochs, one run
    "mirpulatov": {"accuracy": "97.7", "epochs": 15},
    # M. Nielsen, Neural Networks and Deep Learning (2015), chapter 3
    "nielsen": {"accuracy": "98.04", "hidden": 100, "epochs": 60},
    # P. Simard, D. Steinkraus, J. Platt, ICDAR 2003: 1.6 % error with cross-entropy
    "simard": {"accuracy": "98.4", "hidden": 800},
    # Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Proceedings of the IEEE 1998: 4.7 % error
    "lecun": {"accuracy": "95.3", "hidden": 300},
}
