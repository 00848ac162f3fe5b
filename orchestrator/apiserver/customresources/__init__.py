"""Custom resources: CustomResourceDefinitions become kinds that the API server serves, and go again.

Mirrors kube-apiserver's apiextensions-apiserver and its controllers for names, establishing and finalizing.
"""

from orchestrator.apiserver.customresources.definitions import CustomResources, register_custom_resources

__all__ = ["CustomResources", "register_custom_resources"]
