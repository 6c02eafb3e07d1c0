//! What is computed: layers, networks, losses, metrics, optimizers and schedules, as data that builds graph.
