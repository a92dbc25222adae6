"""Where completions come from, and how code is taken out of them."""

from tritonexp.generation.extraction import extract_code
from tritonexp.generation.settings import ProviderSettings, make_provider, provider_names

__all__ = ["ProviderSettings", "extract_code", "make_provider", "provider_names"]
