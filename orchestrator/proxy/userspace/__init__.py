"""The Service proxy without a packet filter: it listens where clients knock, and carries their bytes.

For clusters on a network of Docker's (docs/decisions/0019). Mirrors kube-proxy's former userspace mode, with the rules
that its nftables mode has today.
"""
