"""The Policy port: CEL rules from YAML files, and webhooks."""
