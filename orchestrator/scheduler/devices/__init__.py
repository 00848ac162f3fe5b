"""Dynamic resource allocation: which devices there are, which of them a claim gets, and how that is written.

`pools` reads ResourceSlices, `selectors` asks CEL expressions about a device, `allocation` finds devices for
claims on one node, `ledger` remembers what is taken, `reservation` writes what was decided.
Source: "Dynamic Resource Allocation", kubernetes.io; KEP-4381.
"""
