"""An asyncio kit that knows nothing of Kubernetes: clock, work queue, back-off."""
