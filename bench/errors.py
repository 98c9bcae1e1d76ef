"""What ends a benchmark that cannot say anything true."""


class BenchFailed(Exception):
    """The measurement is void: something did not start, or requests failed. One line for people."""
