"""NetworkPolicies as packet rules. Mirrors what a network plug-in does beside kube-proxy.

`plan` turns one policy into rules, `model` keeps the members of every selector and the rules of every pod and writes
changes as text, `enforcer` is the component that follows the API.
"""
