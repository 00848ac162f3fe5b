"""Drivers that run on a node and talk to its kubelet over gRPC, on sockets in the kubelet's directory.

    watcher        sockets in plugins_registry: who registers there, and when it is gone
    connection     calls of one socket
    presence       whether somebody serves a socket
    server_socket  a socket of the kubelet's own
    messages       protobuf messages, declared as tables

gRPC and protobuf are loaded with the first socket, not before. Mirrors pkg/kubelet/pluginmanager.
"""
