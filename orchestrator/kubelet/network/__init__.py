"""The pod network: one bridge per cluster, a veth per sandbox, addresses, host ports, the way out.

Mirrors a CNI plug-in chain (bridge, host-local, portmap) with the node's routes. Services are the
proxy's business; nothing here knows of containers beyond the pid that holds a network namespace.
"""
