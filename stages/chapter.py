"""Trains, evaluates and exports a chapter: `python3 stages/chapter.py mnist-cnn`."""

from launch import launch

launch("chapter")
