"""The second network mode: a network of Docker's, and helpers in containers instead of root rights (decision 0019)."""
