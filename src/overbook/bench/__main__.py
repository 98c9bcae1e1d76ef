"""`python -m overbook.bench`."""

from overbook.bench.command import bench

if __name__ == "__main__":
    bench(prog_name="python -m overbook.bench")
