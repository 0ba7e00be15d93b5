"""Figures, pages and tables, made from result files alone."""
