"""Services as packet rules: one nftables table that leads Service addresses to pods. Mirrors kube-proxy.

`topology` decides which endpoints a client may reach, `plan` turns one Service into rules, `ruleset` holds the
rules of all Services and writes changes as text, `encoding` writes them as netlink messages, `nftables` and
`conntrack` talk to the kernel, `proxy` is the component that follows the API.
"""
