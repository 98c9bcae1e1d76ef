"""The benchmarks, one module each: `run(stage, effort)` measures and returns a `Section`."""
