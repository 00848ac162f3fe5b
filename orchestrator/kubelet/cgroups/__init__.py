"""The cgroups of a node's pods: their places, their values, and the two ways to make them."""
