"""Runs all cells of the example notebook, in the environment that `make notebook` makes.

Without an argument what the cells show is kept in the notebook, and the picture of who is in memory is written for
the README too. With one, the executed notebook goes to that file, and nothing else is touched.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Final

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

ROOT: Final = Path(__file__).parents[1]
EXAMPLE: Final = ROOT / "examples" / "many-models.ipynb"
PICTURE: Final = ROOT / "docs" / "pictures" / "many-models.png"
PICTURED: Final = "residents-picture"  # the id of its cell


def main(arguments: list[str]) -> int:
    target = Path(arguments[0]) if arguments else EXAMPLE
    notebook = nbformat.read(EXAMPLE, as_version=4)
    client = NotebookClient(
        notebook,
        config=Config(KernelManager={"transport_encryption": "auto"}),
        record_timing=False,
        resources={"metadata": {"path": str(EXAMPLE.parent)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    # Which Python it was is of no interest, and would differ from one machine to the next.
    del notebook.metadata.language_info["version"]
    nbformat.write(notebook, target)
    if target == EXAMPLE:
        (cell,) = [each for each in notebook.cells if each.id == PICTURED]
        PICTURE.write_bytes(base64.b64decode(cell.outputs[0].data["image/png"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
