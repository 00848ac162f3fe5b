"""The Kubernetes API as data: errors, kinds, schemas, patches, selectors and quantities; no I/O, no state."""
