"""What handing on HTTP needs, whoever does it: connections that left HTTP, headers, bodies. Knows no Kubernetes."""
