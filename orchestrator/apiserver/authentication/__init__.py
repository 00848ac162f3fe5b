"""Who sends a request: certificates, tokens of service accounts, and on whose behalf it is sent."""
