"""Measure what RankSim's term does: does it order features, or does it regularize?"""
