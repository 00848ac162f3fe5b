"""What the API server itself knows of Services: their addresses and node ports, and where one can be reached."""
