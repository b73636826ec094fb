"""The service: a REST API, a WebSocket and a web page, thin over the SQL functions."""
