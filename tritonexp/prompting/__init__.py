"""Render a prompt from components, and refuse one that leaks an expert or house kernel."""

from tritonexp.prompting.rendering import components, render

__all__ = ["components", "render"]
