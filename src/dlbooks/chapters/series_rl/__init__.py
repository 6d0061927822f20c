"""Time series and agents: what comes next, and what to do about it?"""
