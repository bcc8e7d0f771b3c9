"""Usable entries of IMDB-WIKI and their ages, one by one, from PROTOCOL section 3."""

import datetime
import math


def compute_age(serial_day, photo_taken):
    """Return the age in years; None without a date."""
    if not (math.isfinite(serial_day) and math.isfinite(photo_taken)):
        return None
    birthday = datetime.date.fromordinal(max(math.floor(serial_day) - 366, 1))
    return photo_taken - birthday.year - (1 if birthday.month >= 7 else 0)


def expected_age(serial_day, photo_taken, face_score, second_face_score):
    """Return the age of a usable entry, else None."""
    years = compute_age(serial_day, photo_taken)
    if years is None or not face_score >= 1:
        return None
    if not (math.isnan(second_face_score) or second_face_score <= 0):
        return None
    return years if 0 <= years <= 200 else None
