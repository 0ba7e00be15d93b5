"""Figures, pages and tables, made from result files; `explore` plays what it shows."""
