"""Timing in turn and the result files, shared by the benchmarks."""

import json
import statistics
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PAUSE_S = 0.05  # lets the idle threads of the candidate before stop spinning


def measure(candidates, n_rounds):
    """Run every candidate once for warm-up, then `n_rounds` times in turn.

    Returns the answers and the medians of the CPU times and of the wall times [s], each by name.
    CPU time counts for one thread, wall time for all threads.
    """
    answers = {name: run() for name, run in candidates.items()}
    cpu = {name: [] for name in candidates}
    wall = {name: [] for name in candidates}
    for _ in range(n_rounds):
        for name, run in candidates.items():
            time.sleep(PAUSE_S)
            start_cpu, start_wall = time.process_time(), time.perf_counter()
            run()
            cpu[name].append(time.process_time() - start_cpu)
            wall[name].append(time.perf_counter() - start_wall)
    return (
        answers,
        {name: statistics.median(seconds) for name, seconds in cpu.items()},
        {name: statistics.median(seconds) for name, seconds in wall.items()},
    )


def write_results(name, record, lines):
    """Write results/`name`.json and the section `name` of docs/benchmarks.md; print the lines."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    head, rest = PAGE.read_text().split(f"<!-- {name} -->\n")
    _, tail = rest.split("<!-- end -->\n", 1)
    PAGE.write_text("\n".join([f"{head}<!-- {name} -->", *lines, "<!-- end -->", tail]))
    print("\n".join(lines))
