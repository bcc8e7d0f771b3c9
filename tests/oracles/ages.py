"""Which entries of IMDB-WIKI are kept, and their ages, one by one, from PROTOCOL section 3."""

import datetime
import math


def age(serial_day, photo_taken):
    """Years; None without a date."""
    if not (math.isfinite(serial_day) and math.isfinite(photo_taken)):
        return None
    born = datetime.date.fromordinal(max(math.floor(serial_day) - 366, 1))
    return photo_taken - born.year - (1 if born.month >= 7 else 0)


def kept(serial_day, photo_taken, face_score, second_face_score):
    """The age if the entry is used, else None."""
    years = age(serial_day, photo_taken)
    if years is None or not face_score >= 1:
        return None
    if not (math.isnan(second_face_score) or second_face_score <= 0):
        return None
    return years if 0 <= years <= 200 else None
