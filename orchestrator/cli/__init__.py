"""The command line: `up` and `down` for the process itself, and client verbs for people without kubectl.

Owns what a person types and what is printed; never decides anything about objects, and the client
verbs know the cluster only through HTTPS. Mirrors kubectl: same flags, same output shape, same words
in errors. Every verb is a module of its own and imported only when it is used, because the time to
the ready line starts at exec.
"""
