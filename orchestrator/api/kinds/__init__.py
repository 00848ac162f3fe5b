"""The kinds that the API serves, as data: one descriptor per kind, one registry."""
