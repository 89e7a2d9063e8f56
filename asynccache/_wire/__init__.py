"""The cache as it is seen over HTTP: what every integration and the server have in common."""
