"""What a dry run says of the stages of a ready study, run tiny, and what they then take.

    OMP_NUM_THREADS=1 python tests/benchmarks/study_estimates.py three-families

Seconds are those of the processor, which other programs on the machine disturb less than those of
the clock on the wall; with one thread and nothing else running the two are the same.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from sdiag.study import clocks
from sdiag.study.encoders import study_pairs
from sdiag.study.reading import ready_studies
from sdiag.study.run import outlook, study_steps
from sdiag.study.tiny import tiny_version
from sdiag.study.world import World


def processor(step) -> float:
    """Seconds of the processor that a step takes."""
    started = time.process_time()
    step.run()
    return time.process_time() - started


def main() -> None:
    """Print estimate, measured and their ratio by stage, and with --steps by step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=sorted(ready_studies()))
    parser.add_argument("--steps", action="store_true", help="Each step, too.")
    parser.add_argument("--folder", type=Path, help="For cache and results, kept.")
    options = parser.parse_args()
    clocks.now = time.process_time
    folder = options.folder or Path(tempfile.mkdtemp(prefix="study-estimates-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    study = tiny_version(ready_studies()[options.study])
    pairs = study_pairs(study, None)
    world = World(study, pairs, Path("cache"), Path(f"results-{options.study}"), offline=True)
    steps = study_steps(world)
    started = time.process_time()
    plan, rates = outlook(world, steps)
    print(f"{options.study}: planned in {time.process_time() - started:.1f} s")
    for clock, rate in rates.items():
        print(f"  {clock}: {rate.per_second:.3g} a second")
    foretold, took = Counter(), Counter()
    for one in plan:
        if one.state != "to do":
            continue
        seconds = processor(one.step)
        foretold[one.step.stage] += one.seconds or 0
        took[one.step.stage] += seconds
        if options.steps:
            print(row(one.step.key, one.seconds or 0, seconds), flush=True)
    print(row("stage", "estimate", "measured", "ratio"))
    for stage in took:
        print(row(stage, foretold[stage], took[stage]))
    print(row("all", sum(foretold.values()), sum(took.values())))


def row(name, estimate, measured, ratio=None) -> str:
    """A line of the table."""
    if ratio is None:
        ratio = f"{estimate / measured:.2f}" if measured else ""
        estimate, measured = f"{estimate:.1f}", f"{measured:.1f}"
    return f"{name:45} {estimate:>9} {measured:>9} {ratio:>6}"


if __name__ == "__main__":
    main()
