"""What models really take: measured, remembered, given back, guarded. See docs/memory.md for the whole story.

`estimates`, `attribution`, `unattributed` and `guard` are pure: numbers in, numbers out. `readings`, `machine` and
`gpu` only read, `store` only keeps; `meter` (with `at_rest` or `windows`) and `watch` are the shells that tie them to
time and to the actor. What is evicted for which bytes is decided in `residency`, never here.
"""
