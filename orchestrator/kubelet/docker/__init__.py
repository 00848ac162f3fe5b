"""Containers on a Docker Engine: the `ContainerRuntime` of nodes that run real pods.

Mirrors what dockershim was: sandboxes and containers found again by name and labels alone. The only
package that imports aiodocker.
"""
