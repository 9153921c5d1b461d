"""The HTTP server of a deployment: requests that wait are predicted together. It imports no torch."""
