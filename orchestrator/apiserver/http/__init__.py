"""The HTTPS front end: URLs, media types and streams around the API server's core."""
