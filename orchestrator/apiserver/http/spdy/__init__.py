"""SPDY/3.1, the side of a server: frames (`framing`) and multiplexed streams (`connection`)."""
