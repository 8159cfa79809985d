"""One node of the system: composes the cores, the learning and the runtime."""
