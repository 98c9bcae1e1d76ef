"""How archives are read, and what of them is written; `artifacts.archives` is what others use.

Each reader of a format gives its members to one `placing.Place`, which alone writes, and which knows the rules. No
reader may write by itself, and no rule may stand in a reader that holds for both.
"""
