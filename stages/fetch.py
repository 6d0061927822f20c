"""Downloads a data set's raw files, or draws its twin: `python3 stages/fetch.py mnist`."""

from launch import launch

launch("fetch")
