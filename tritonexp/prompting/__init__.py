"""Render a prompt from components, and refuse one that leaks an expert or house kernel."""

from tritonexp.prompting.rendering import check_component, components, render

__all__ = ["check_component", "components", "render"]
