"""Pulseq files."""
