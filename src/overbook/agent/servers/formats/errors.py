"""What the readers raise."""


class FormatError(Exception):
    """The file is not what its name says. One line: what was found, and where in the file if that is known."""
