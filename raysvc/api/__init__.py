"""The HTTP front: thin routes from requests to control, and back. No decision is made here."""
