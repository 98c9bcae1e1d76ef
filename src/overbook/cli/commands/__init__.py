"""One module a command (or a family of them); each offers the click commands that `main` lists."""
