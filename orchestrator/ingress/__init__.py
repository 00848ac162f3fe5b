"""Ingress: HTTP from outside, led to Services by host and path. Mirrors an ingress controller such as ingress-nginx.

`plan` turns Ingresses into routes, `certificates` answers TLS by server name, `server` hands requests on,
`controller` is the component: it follows the API, and tells Ingresses where they are served.
"""
