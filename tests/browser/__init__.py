"""Pages of the package in a real browser: Chromium."""
