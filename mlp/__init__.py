"""A multilayer perceptron, in plain Python and in NumPy, and all it takes to train one."""
