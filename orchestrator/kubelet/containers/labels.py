"""Labels that the kubelet puts on containers, to know from the runtime alone what they were made from."""

from __future__ import annotations

HASH_LABEL = "io.kubernetes.container.hash"
"""`pod.container_hash` of the definition."""
IMAGE_DIGEST_LABEL = "io.kubernetes.container.imageDigest"
"""The image as a registry knows it; an image that was made on the machine has none."""
