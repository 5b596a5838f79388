"""The newer commands of `hapi`, a module for each group; cli.py puts them together."""
