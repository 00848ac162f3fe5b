"""Which pods stand behind a Service: EndpointSlices, and Endpoints for those who still read them.

Mirrors endpointslice-controller, endpoints-controller and endpointslice-mirroring-controller.
`membership` follows which pods a Service selects; the other modules turn them into objects.
"""

from orchestrator.controllers.endpoints.controller import EndpointSliceController
from orchestrator.controllers.endpoints.legacy import EndpointsController
from orchestrator.controllers.endpoints.mirroring import EndpointSliceMirroringController

__all__ = ["EndpointSliceController", "EndpointSliceMirroringController", "EndpointsController"]
