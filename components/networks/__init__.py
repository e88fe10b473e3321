"""Neural networks, one architecture family a file; `registry.build` makes them by name.

Image networks work on float32 N×C×H×W in [0, 1] and centre the range inside; an energy gives one
number a row, low where data are likely.
"""
