"""Code of people's own: a plugin's file, and what it imports from its folder and from the project around it."""
