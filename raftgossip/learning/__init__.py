"""Pure mathematics and training: tasks, flat parameters, algorithms, mixing. It knows neither Raft nor the network."""
