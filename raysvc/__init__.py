"""raysvc: a managed Ray service that an organisation runs itself."""
