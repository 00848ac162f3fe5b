"""CertificateSigningRequests: approve those of kubelets, sign what is approved, clean up.

Mirrors certificatesigningrequest-approving, -signing and -cleaner-controller. `requests` reads and
judges, `authority` signs, `controllers` apply it.
"""

from orchestrator.controllers.certificates.controllers import CSRApproving, CSRCleaner, CSRSigning

__all__ = ["CSRApproving", "CSRCleaner", "CSRSigning"]
