"""One machine: puts the parts together and runs them, all in one process (`up`) or one at a time (`serve`).

The only place that imports all three parts. It decides nothing that a part decides.
"""
