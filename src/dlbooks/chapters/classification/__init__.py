"""From softmax regression on digits to networks that know a thousand classes: what is on the picture?"""
