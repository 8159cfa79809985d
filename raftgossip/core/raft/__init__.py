"""Raft, told as a short paper. Sections are those of Diego Ongaro's thesis (2014); each file owns one part.

**What it gives.** Several nodes agree on one growing list of entries, the log, although nodes crash and messages get
lost. Each node applies the committed entries in order, so all compute the same state (section 2.1). Nothing is
promised against nodes that lie.

**Terms and votes** (3.3, 3.4; `election.py`). Time is cut into terms, each with one leader at most: a node votes once
a term, for the first candidate whose log is at least as up-to-date as its own (3.6.1), and saves the vote before it
answers. A node that hears no leader for a random time first asks whether it could win (pre-vote, 9.6), and only then
raises its term. A node that hears a leader refuses both questions (4.2.3, 6.4), unless the leader itself asked for the
election in order to hand over (3.10). A leader that hears no majority steps down (6.2).

**Replication** (3.5; `replication.py`, `progress.py`). Only the leader appends. It sends entries with the index and
term of the one before them; a follower refuses what does not fit, and says where to try next. So two logs that hold
the same (index, term) are equal up to there.

**Commitment** (3.6.2; `quorum.py`). An entry of the leader's own term is committed once a majority has it on disk;
all before it are committed with it. A new leader appends an empty entry at once (6.4), to commit what it inherited.

**Membership** (4; `membership.py`). Voters decide; learners only receive the log. A change is an entry itself and
decides as soon as it stands in a node's log. One voter more or less is one entry; more go through a joint
configuration, in which the old and the new voters must both agree, and which the leader leaves by itself.

**Snapshots** (5; `snapshot.py`). The state machine's state stands in for the log up to some entry. Who lacks what is
compacted gets it in chunks.

**Reads** (6.4; `read_index.py`). A leader that a majority has just confirmed answers from its state, without an entry.

**Shape** (`node.py`). `RaftNode` is a `Core`: events in, a `Ready` of effects out, no clock, disk or network.
`roles.py` changes roles by time and votes. `state.py` has the variables of Figure 2, `log.py` the entries,
`message.py` all values, `config.py` the settings, `effects.py` the Ready in the making, `status.py` what operators see,
`state_machine.py` what applies the entries.
"""
