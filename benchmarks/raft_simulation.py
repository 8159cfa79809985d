"""How fast the Raft simulator is: how many seeds can be played before a release.

Figures, on one core: `raft.simulation.events_per_s`, events that the simulated nodes' cores handled, with all faults
on, all invariants checked after each, and the clients' histories judged at the end; `raft.simulation.seeds_per_s`,
whole runs of 4,000 events.

Example: python benchmarks/raft_simulation.py --seeds 20 --json
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

from raft_figures import Figure, note, parser, show

from raftgossip.sim.world import simulate

NUM_EVENTS = 4_000


def measure(num_seeds: int, first_seed: int) -> Iterator[Figure]:
    """Play the seeds; a violation ends the benchmark."""
    seconds, rates = 0.0, []
    for seed in range(first_seed, first_seed + num_seeds):
        start_s = time.perf_counter()
        outcome = simulate(seed, NUM_EVENTS)
        run_s = time.perf_counter() - start_s
        seconds += run_s
        rates.append(outcome.num_events / run_s)
    note(f"{num_seeds} seeds from {first_seed} on: {min(rates):,.0f} to {max(rates):,.0f} events/s")
    yield Figure("raft.simulation.events_per_s", statistics.median(rates), "1/s")
    yield Figure("raft.simulation.seeds_per_s", num_seeds / seconds, "1/s")


def main() -> int:
    """Measure and print."""
    options_of = parser(__doc__)
    options_of.add_argument("--seeds", type=int, default=60, help="how many; default: %(default)s")
    options_of.add_argument("--first", type=int, default=1, help="the first seed; default: %(default)s")
    options = options_of.parse_args()
    figures = measure(5 if options.quick else options.seeds, options.first)
    show(figures, "Raft: the simulator", as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
