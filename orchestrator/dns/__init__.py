"""Cluster DNS: names of Services and endpoints, as the Kubernetes DNS specification 1.1 says. Mirrors CoreDNS.

`message` is the wire format, `plan` turns one Service into records, `zone` holds all of them and answers,
`upstream` asks the machine's resolvers for everything else, `server` listens, `dns` is the component.
"""
