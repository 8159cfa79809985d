"""The learning algorithms: one file per paper, none of which knows another."""
