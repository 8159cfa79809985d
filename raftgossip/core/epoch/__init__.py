"""Epochs: what the peers agreed on, and what the leader proposes next.

`command.py` holds the values that stand in the Raft log, `ledger.py` what they add up to on every peer, and
`coordinator.py` how the leader of the moment moves it on, with `blame.py` as the judge of a failed exchange. One epoch:

1. `OpenEpoch(e, participants)` commits. Everybody derives the same plan from it, trains, and exchanges.
2. Each participant commits a `ReportEpoch`: the digest of its result, or which edges failed, or why it gives up.
3. All completed: `CloseEpoch(closed)`. Somebody died or failed: `RetryExchange(e, attempt + 1, survivors)`, and the
   survivors exchange again from the vectors that they kept. Too few are left: `CloseEpoch(failed)`.

The ledger refuses what would break the promise (an epoch skipped, repeated, or closed though an exchange did not
complete), whoever proposes it. So the coordinator may be wrong, late or doubled, and only time is lost.
"""
