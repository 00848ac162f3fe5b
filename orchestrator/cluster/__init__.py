"""The composition root: builds every component of one cluster from its configuration and owns their lifetimes."""
