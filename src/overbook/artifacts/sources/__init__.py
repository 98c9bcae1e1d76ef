"""Where artifacts come from when they are not on this machine: who lists what is at an address, and who brings it.

Each kind of source is one class behind `protocol.Source`. What is done with the files (checks, digests, budget of the
disk, when to ask again) is not decided here.
"""
