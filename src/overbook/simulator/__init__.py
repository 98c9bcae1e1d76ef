"""The simulator: request traces replayed through the real residency core, in virtual time.

Everything but the command is a function of values and a seed; no server is started and nothing sleeps.
"""
