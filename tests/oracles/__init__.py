"""The slow, obvious reference implementations; nothing else may hold one."""
