"""`python -m overbook.simulator`."""

from overbook.simulator.command import bench

if __name__ == "__main__":
    bench(prog_name="python -m overbook.simulator")
