"""Builds the results site: `python3 stages/report.py`."""

from launch import launch

launch("report")
