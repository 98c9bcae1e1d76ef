"""`overbook demo`: trains real models, starts Overbook as anyone would, and shows it under traffic.

It is a user of Overbook: it starts the command, reads the control API and asks the data plane. Nothing
here may reach into a part.
"""
