"""Ray's dashboards, on an origin of their own, and the way there from the main one."""

from raysvc.api.dashboard.app import create_dashboard
from raysvc.api.dashboard.entrance import dashboard_routes

__all__ = ["create_dashboard", "dashboard_routes"]
