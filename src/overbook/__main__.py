"""`python -m overbook`: the command line, for where the script is not on the path."""

from overbook.cli.main import main

main()
