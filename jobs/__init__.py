"""The command line ``epgbloch`` and its jobs."""
