"""API aggregation: which group versions there are, in which order, and who serves each.

`plan` has the decisions, `api_services` follows the APIService objects and checks the servers behind them. How a
request gets there is in `apiserver.http.aggregation`. Mirrors k8s.io/kube-aggregator.
"""
