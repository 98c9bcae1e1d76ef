"""How pickles are told from all other files, and found within them; `artifacts.pickled` is what others use.

Nothing here unpickles, imports or runs anything. Time and memory are bounded, whatever the bytes are.
"""
