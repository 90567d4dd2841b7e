"""The words everyone shares. Import from the modules; nothing is imported here, so that help stays fast."""
