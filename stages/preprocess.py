"""Turns raw files into TFRecords: `python3 stages/preprocess.py mnist`."""

from launch import launch

launch("preprocess")
