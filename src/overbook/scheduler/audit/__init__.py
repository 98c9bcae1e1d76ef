"""Who changed what by the control API, when, from where, and with what outcome: kept in files, for administrators.

Says nothing of what a change was about beyond names, numbers and words that are known: no manifest, no secret, no text
of an error. Decides nothing, and never keeps a change from being made.
"""
